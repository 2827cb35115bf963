// A folder that `fo1 convert nano OUT --to onnx` wrote, run by onnxruntime: what fo1.onnx.OnnxModel does.

import { parts, withoutCopies } from "./boxes.js";
import { Lexicon } from "./lexicon.js";
import { Tokenizer } from "./tokenizer.js";

const FORMAT = "fo1-onnx-1";

export class Detector {
  /**
   * Return a detector with its weights in memory.
   * @param {object} ort onnxruntime-web
   * @param {string} base address of the folder, with a slash at its end
   * @param {(done: string) => void} told is called with each file that was read
   */
  static async load(ort, base, told = () => {}) {
    const read = async (file) => {
      const answer = await fetch(new URL(file, base));
      if (!answer.ok) throw new Error(`${file} is missing (${answer.status}); see README.md`);
      told(file);
      return answer;
    };
    const manifest = await (await read("manifest.json")).json();
    if (manifest.format !== FORMAT)
      throw new Error(`the model is in format ${manifest.format}, need ${FORMAT}; export it again`);
    const { tokenizer, lexicon, graphs } = manifest;
    const names = new Lexicon(await unpacked(await read(lexicon.file)), lexicon.rules);
    const words = new Tokenizer(await (await read(tokenizer.file)).json());
    const sessions = {};
    for (const [name, file] of Object.entries(graphs)) {
      const bytes = new Uint8Array(await (await read(file)).arrayBuffer());
      sessions[name] = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    }
    return new Detector(ort, manifest, sessions, words, names);
  }

  constructor(ort, manifest, sessions, tokenizer, lexicon) {
    Object.assign(this, { ort, manifest, sessions, tokenizer, lexicon });
  }

  /**
   * Return a picture with its regions, to be asked any number of times.
   * @param {{width: number, height: number, rgb: Uint8Array}} picture
   * @param {Float32Array?} given xyxy pixels, four numbers a box; proposed if left out
   */
  async look({ width, height, rgb }, given = null) {
    const { Tensor } = this.ort;
    const start = performance.now();
    const picture = new Tensor("uint8", rgb, [height, width, 3]);
    const found = given ? null : await this.sessions.propose.run({ picture });
    const boxes = given ?? found.boxes.data;
    const proposed = performance.now();
    const count = boxes.length / 4;
    const rows = new Tensor("float32", boxes, [count, 4]);
    const seen = count ? await this.sessions.encode.run({ picture, boxes: rows }) : null;
    const milliseconds = { propose: proposed - start, encode: performance.now() - proposed };
    return { width, height, boxes, count, scores: found?.scores.data, seen, milliseconds };
  }

  /**
   * Return [{label, box, score, region}], best first within a name.
   * @param {object} scene from `look`
   * @param {string[]} names clean and distinct
   * @param {number?} threshold least score; the model's own if left out
   */
  async detect(scene, names, threshold = null) {
    const { selection } = this.manifest;
    const least = Math.fround(threshold ?? selection.threshold);
    const table = await this.score(scene, names);
    return names.flatMap((label, column) => {
      const score = (region) => {
        const match = table[region * names.length + column];
        return scene.scores ? Math.fround(Math.sqrt(Math.fround(match * scene.scores[region]))) : match;
      };
      let kept = Array.from({ length: scene.count }, (_, region) => region);
      kept = kept.filter((region) => score(region) >= least).sort((a, b) => score(b) - score(a));
      if (scene.scores)
        kept = withoutCopies(scene.boxes, kept, selection.overlap, selection.containment);
      return kept.map((region) => {
        const box = Array.from(scene.boxes.subarray(region * 4, region * 4 + 4));
        return { label, box, score: score(region), region };
      });
    });
  }

  /** Return the probabilities of all pairs, region by region, without the scores of the proposals. */
  async score(scene, names) {
    const { limits } = this.manifest;
    const table = new Float32Array(scene.count * names.length);
    if (!scene.count) return table;
    const { image_tokens, image_grid } = scene.seen;
    for (const [from, to] of parts(scene.count, limits.regions)) {
      const regions = this.#rows(scene.seen.regions, from, to);
      const evidence = this.#rows(scene.seen.evidence, from, to);
      for (let first = 0; first < names.length; first += limits.queries) {
        const some = names.slice(first, first + limits.queries);
        const feeds = { image_tokens, image_grid, regions, evidence, ...this.#ask(some) };
        const { data } = (await this.sessions.score.run(feeds)).probabilities;
        for (let row = from; row < to; row++)
          for (let k = 0; k < some.length; k++)
            table[row * names.length + first + k] = data[(row - from) * some.length + k];
      }
    }
    return table;
  }

  #rows(tensor, from, to) {
    const width = tensor.dims[1];
    const data = tensor.data.slice(from * width, to * width);
    return new this.ort.Tensor("float32", data, [to - from, width]);
  }

  /** Return what the score graph takes of names. */
  #ask(names) {
    const { Tensor } = this.ort;
    const { tokenizer: token, lexicon } = this.manifest;
    const branches = names.map((name) => [
      token.ground_open,
      ...this.tokenizer.encode(name),
      token.ground_close,
      token.objects_open,
    ]);
    const ids = BigInt64Array.from(branches.flat(), BigInt);
    const owners = branches.flatMap((branch, number) => branch.map(() => BigInt(number)));
    const width = lexicon.classes.reduce((sum, count) => sum + count, 0);
    const classes = new Float32Array(names.length * width);
    names.forEach((name, row) => {
      let start = row * width;
      lexicon.sources.forEach((source, place) => {
        for (const index of this.lexicon.classes(name, source)) classes[start + index] = 1;
        start += lexicon.classes[place];
      });
    });
    return {
      branch_ids: new Tensor("int64", ids, [ids.length]),
      branch_owner: new Tensor("int64", BigInt64Array.from(owners), [ids.length]),
      classes: new Tensor("float32", classes, [names.length, width]),
      is_name: new Tensor("bool", names.map((name) => this.lexicon.isName(name)), [names.length]),
    };
  }
}

/** Return the JSON in a gzip file; a server may have unpacked it already. */
async function unpacked(answer) {
  const bytes = await answer.arrayBuffer();
  const [first, second] = new Uint8Array(bytes);
  if (first !== 0x1f || second !== 0x8b) return JSON.parse(new TextDecoder().decode(bytes));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}
