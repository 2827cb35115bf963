// Serves this folder and an exported model on this machine: node serve.js [MODEL FOLDER] [PORT]
// The two headers let onnxruntime use several threads; any other server that sends them will do.

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const model = resolve(process.argv[2] ?? join(here, "nano"));
const port = Number(process.argv[3] ?? 8000);
const KINDS = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const path = normalize(decodeURIComponent(pathname)).replace(/^[/\\]+/, "") || "index.html";
  const inModel = /^nano[/\\]/.test(path);
  const file = inModel ? join(model, path.slice(5)) : join(here, path);
  let found = null;
  try {
    found = path.split(/[/\\]/).includes("..") ? null : statSync(file);
  } catch {
    found = null;
  }
  const headers = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
  };
  if (!found?.isFile()) {
    response.writeHead(404, headers).end("not found\n");
    return;
  }
  headers["Content-Type"] = KINDS[extname(file)] ?? "application/octet-stream";
  headers["Content-Length"] = found.size;
  response.writeHead(200, headers);
  createReadStream(file).pipe(response);
});
server.listen(port, "127.0.0.1", () =>
  console.log(`http://127.0.0.1:${server.address().port}/  (Ctrl-C ends)`),
);
