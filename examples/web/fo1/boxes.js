// Boxes are rows of four numbers, xyxy pixels of the picture, one after the other in a Float32Array.

/**
 * Return which of some boxes stay, best first: `nms` of fo1.geometry.
 * @param {Float32Array} boxes
 * @param {number[]} order rows of the boxes to choose from, best first
 * @param {number} overlap a box is dropped above this IoU with a better one,
 * @param {number} containment or when more than this share of the smaller one lies in the other
 */
export function withoutCopies(boxes, order, overlap, containment) {
  const kept = [];
  for (const row of order) {
    const clear = kept.every((better) => {
      const shared = sharedArea(boxes, better, row);
      const [first, second] = [area(boxes, better), area(boxes, row)];
      const union = first + second - shared;
      const smaller = Math.min(first, second);
      const iou = union > 0 ? Math.fround(shared / union) : 0;
      const inside = smaller > 0 ? Math.fround(shared / smaller) : 0;
      return iou <= overlap && inside <= containment;
    });
    if (clear) kept.push(row);
  }
  return kept;
}

/** Return [start, stop] of the fewest parts of `count` that hold at most `most`, equally filled. */
export function parts(count, most) {
  const number = Math.ceil(count / most);
  const base = Math.floor(count / number);
  const longer = count % number;
  let start = 0;
  return Array.from({ length: number }, (_, part) => {
    const stop = start + base + (part < longer ? 1 : 0);
    const own = [start, stop];
    start = stop;
    return own;
  });
}

function area(boxes, row) {
  const [x1, y1, x2, y2] = boxes.subarray(row * 4, row * 4 + 4);
  return Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
}

function sharedArea(boxes, one, other) {
  const a = boxes.subarray(one * 4, one * 4 + 4);
  const b = boxes.subarray(other * 4, other * 4 + 4);
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}
