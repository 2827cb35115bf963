// The page: a picture and names go to the worker, boxes come back and are drawn.

const COLOURS = ["#0b63ce", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c", "#0c8599", "#a67c00", "#5f3dc4"];
const LONGEST_SHOWN = 1600;
const MOST_PIXELS = 100e6;

const part = (id) => document.getElementById(id);
const [view, stage, find, status] = ["view", "stage", "find", "status"].map(part);
const worker = new Worker("worker.js", { type: "module" });

let bitmap = null; // what is shown
let unseen = null; // its pixels, until the worker has them
let labels = []; // names in the order in which they got a colour
let busy = false;
let again = false; // something was asked meanwhile

worker.onmessage = ({ data }) => {
  if (data.kind === "loading") part("model").textContent = `loading ${data.file}`;
  if (data.kind === "ready") {
    const threads = data.threads > 1 ? `${data.threads} threads` : "1 thread";
    part("model").textContent = `nano, loaded in ${seconds(data.milliseconds)}, ${threads}`;
    document.body.dataset.ready = "yes";
  }
  if (data.kind === "found" && !again) show(data);
  if (data.kind === "error") complain(data.text);
  if (data.kind === "found" || data.kind === "error") settle(false);
};
worker.onerror = (event) =>
  complain(`the model cannot be started (${event.message ?? "a file is missing"}); see README.md`);

part("picture").onchange = ({ target }) => {
  take(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
};
part("threshold").oninput = ({ target }) => {
  part("least").textContent = Number(target.value).toFixed(2);
};
part("threshold").onchange = () => bitmap && ask();
part("ask").onsubmit = (event) => {
  event.preventDefault();
  ask();
};
for (const name of ["dragover", "dragleave", "drop"])
  stage.addEventListener(name, (event) => {
    event.preventDefault();
    stage.classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files[0]);
  });
addEventListener("paste", (event) => take(event.clipboardData.files[0]));

/** Show a picture file and look for what is typed. */
async function take(file) {
  if (!file) return;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    unseen = pixels(bitmap);
  } catch (error) {
    bitmap = unseen = null;
    complain(error.name === "RangeError" ? error.message : `${file.name} is not a picture that can be read`);
    return;
  }
  draw([]);
  part("found").replaceChildren();
  stage.classList.add("full");
  part("hint").hidden = true;
  ask();
}

/** Return the picture as RGB bytes, laid on white. */
function pixels({ width, height }) {
  if (width * height > MOST_PIXELS) throw new RangeError("the picture is too large; shrink it");
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return { width, height, rgb };
}

function ask() {
  again = busy;
  if (!bitmap || busy) return;
  settle(true);
  status.className = "";
  status.textContent = document.body.dataset.ready ? "looking" : "waiting for the model";
  const message = {
    picture: unseen,
    names: part("names").value,
    threshold: Number(part("threshold").value),
  };
  worker.postMessage(message, unseen ? [unseen.rgb.buffer] : []);
  unseen = null;
}

function show({ detections, regions, milliseconds }) {
  labels = [...new Set(detections.map(({ label }) => label))];
  draw(detections);
  part("found").replaceChildren(
    ...detections.map(({ label, score }) => {
      const item = document.createElement("li");
      const name = document.createElement("b");
      name.textContent = label;
      item.style.setProperty("--colour", colour(label));
      item.append(name, score.toFixed(2));
      return item;
    }),
  );
  const { propose, encode, score } = milliseconds;
  const times = [
    ...(encode ? [`boxes ${seconds(propose)}`, `encoding ${seconds(encode)}`] : []),
    `scores ${seconds(score)}`,
  ];
  const number = detections.length === 1 ? "1 found" : `${detections.length || "nothing"} found`;
  status.textContent = `${number} among ${regions} regions; ${times.join(", ")}`;
  document.body.dataset.found = JSON.stringify({ detections, milliseconds });
}

function complain(text) {
  status.className = "wrong";
  status.textContent = text;
}

function settle(now) {
  busy = now;
  find.disabled = now || !bitmap;
  if (!busy && again) ask();
}

/** Draw the picture and boxes with labels on it; the best on top. */
function draw(detections) {
  const scale = Math.min(1, LONGEST_SHOWN / Math.max(bitmap.width, bitmap.height));
  view.width = Math.round(bitmap.width * scale);
  view.height = Math.round(bitmap.height * scale);
  const context = view.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, view.width, view.height);
  context.drawImage(bitmap, 0, 0, view.width, view.height);
  const unit = Math.max(view.width, view.height) / 600; // a line is as thick on any picture
  const size = Math.round(15 * unit);
  context.font = `600 ${size}px system-ui, "Liberation Sans", "DejaVu Sans", sans-serif`;
  context.textBaseline = "middle";
  for (const { label, box, score } of [...detections].sort((a, b) => a.score - b.score)) {
    const [x1, y1, x2, y2] = box.map((value) => value * scale);
    context.lineWidth = 2.5 * unit;
    context.strokeStyle = context.fillStyle = colour(label);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const text = `${label} ${score.toFixed(2)}`;
    const width = context.measureText(text).width + size;
    const height = size * 1.5;
    const left = Math.max(0, Math.min(x1, view.width - width));
    const top = y1 >= height ? y1 - height : Math.min(y1, view.height - height);
    context.fillRect(left, top, width, height);
    context.fillStyle = "white";
    context.fillText(text, left + size / 2, top + height / 2 + unit / 2);
  }
}

const colour = (label) => COLOURS[labels.indexOf(label) % COLOURS.length];
const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(2)} s`;
