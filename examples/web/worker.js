// The model in a thread of its own, so that the page never freezes. Messages: {picture?, names, threshold}.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { Detector } from "./fo1/detector.js";
import { splitNames } from "./fo1/names.js";

ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.logLevel = "error";

const start = performance.now();
const loading = Detector.load(ort, new URL("./nano/", import.meta.url), (file) =>
  postMessage({ kind: "loading", file }),
);
loading.then(
  () =>
    postMessage({
      kind: "ready",
      milliseconds: performance.now() - start,
      threads: ort.env.wasm.numThreads,
    }),
  (error) => postMessage({ kind: "error", text: oneLine(error) }),
);

let scene = null; // of the last picture, which may be asked again
let queue = Promise.resolve();

onmessage = ({ data }) => {
  queue = queue.then(() => answer(data)).catch((error) => {
    postMessage({ kind: "error", text: oneLine(error) });
  });
};

async function answer({ picture, names, threshold }) {
  const detector = await loading;
  const wanted = splitNames(names);
  let milliseconds = { propose: 0, encode: 0 };
  if (picture) {
    scene = null;
    scene = await detector.look(picture);
    milliseconds = scene.milliseconds;
  }
  if (!scene) throw new Error("there is no picture; choose one first");
  const begun = performance.now();
  const detections = await detector.detect(scene, wanted, threshold);
  milliseconds = { ...milliseconds, score: performance.now() - begun };
  postMessage({ kind: "found", detections, regions: scene.count, milliseconds });
}

function oneLine(error) {
  return String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 200);
}
