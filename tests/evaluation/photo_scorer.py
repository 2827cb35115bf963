# The scorer of the project's own open photo set, unchanged below this comment: what the tests of `folder` must meet.
# fmt: off
# ruff: noqa
"""Score open-vocabulary detections on a photo set whose every photo is asked for the whole vocabulary of the set.

    python score.py open.json predictions.jsonl [--floors]

predictions.jsonl has one line per photo, {"image_id": 1 or "file_name": "o001.jpg", "detections": [{"label": NAME,
"box": [x1, y1, x2, y2], "score": S}, ...]}, boxes in pixels of the photo. A photo without a line counts as one without detections.
Each photo splits the vocabulary in three: `exhaustive_category_ids` (all instances boxed; unmatched detections are false),
`verified_absent_category_ids` (every detection is false), `unsure_category_ids` (detections dropped). iscrowd = 1 regions swallow
detections of their category (overlap = intersection / area of the detection) without credit or blame.

Printed: mAP@[.5:.95] and AP50, COCO style (greedy matching, 101 recall points, at most 100 detections per photo and name, mean over
the categories with boxes), except that equal scores enter the curve together, so that their order earns nothing; recall at IoU 0.5
for the 50 and 100 best-scored boxes of each photo, labels ignored (unsure names too), identical boxes counted once; detections of
verified-absent names at score >= 0.5, per photo. --floors adds trivial and ideal detectors and the predictions' own boxes, names
permuted photo by photo (mean of 20 seeds), with the gap to that and its 95 % bootstrap interval (1,000 resamples of the photos).
"""
import argparse, json, sys
import numpy as np

IOUS = np.linspace(.5, .95, 10)
SEEDS, RESAMPLES, MAX_DETS, FP_SCORE = 20, 1000, 100, .5


def iou(a, b, crowd=False):
    inter = np.clip(np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0, None).prod(2)
    area = lambda z: (z[:, 2:] - z[:, :2]).prod(1)
    return inter / np.maximum(area(a)[:, None] if crowd else area(a)[:, None] + area(b)[None] - inter, 1e-9)


def load_set(path):
    J = json.load(open(path, encoding="utf-8"))
    cats = sorted(J["categories"], key=lambda c: c["id"])
    index, photos = {c["id"]: i for i, c in enumerate(cats)}, []
    for im in J["images"]:
        parts = [im[k + "_category_ids"] for k in ("exhaustive", "verified_absent", "unsure")]
        if sorted(sum(parts, [])) != sorted(index):
            sys.exit(f"{im['file_name']}: the three category lists do not partition the vocabulary")
        p = dict(id=im["id"], file=im["file_name"], size=(im["width"], im["height"]), gt={}, crowd={},
                 absent={index[i] for i in parts[1]}, unsure={index[i] for i in parts[2]})
        for a in (a for a in J["annotations"] if a["image_id"] == im["id"]):
            x, y, w, h = a["bbox"]
            p["crowd" if a["iscrowd"] else "gt"].setdefault(index[a["category_id"]], []).append([x, y, x + w, y + h])
        photos.append({**p, **{k: {c: np.array(b, float) for c, b in p[k].items()} for k in ("gt", "crowd")}})
    return photos, [c["name"] for c in cats]


def pack(box, label, score):
    """Detections of one photo as arrays, best score first (stable)."""
    o = np.argsort(-np.array(score, float), kind="stable")
    return np.array(box, float).reshape(-1, 4)[o], np.array(label, int)[o], np.array(score, float)[o]


def load_predictions(path, photos, names):
    number = {p[k]: i for i, p in enumerate(photos) for k in ("id", "file")}
    index, out = {n: i for i, n in enumerate(names)}, [None] * len(photos)
    for line in filter(str.strip, open(path, encoding="utf-8")):
        r = json.loads(line)
        key, D = r["image_id"] if "image_id" in r else r["file_name"], r["detections"]
        if key not in number or out[number[key]] is not None:
            sys.exit(f"{path}: photo {key!r} is unknown or comes twice")
        if unknown := {d["label"] for d in D} - set(index):
            sys.exit(f"{path}: photo {key!r}: labels outside the vocabulary: {sorted(unknown)}")
        out[number[key]] = pack([d["box"] for d in D], [index[d["label"]] for d in D], [d["score"] for d in D])
        if not all(np.isfinite(a).all() for a in out[number[key]]):
            sys.exit(f"{path}: photo {key!r}: a box or score is not finite")
    print(f"{sum(o is None for o in out)} of {len(photos)} photos have no line (scored as empty)", file=sys.stderr)
    return [pack([], [], []) if o is None else o for o in out]


def match(gt, crowd, box):
    """True positives and ignored detections, each IOUS x detections; box is sorted by score."""
    tp, ignored = np.zeros((2, len(IOUS), len(box)), bool)
    I, C = iou(box, gt), iou(box, crowd, crowd=True)
    for k, t in enumerate(IOUS if len(gt) + len(crowd) else []):
        free = np.ones(len(gt), bool)
        for d in range(len(box)):
            v = np.where(free, I[d], -1.)
            tp[k, d], ignored[k, d] = v.max(initial=-1) >= t, v.max(initial=-1) < t <= C[d].max(initial=-1)
            free[v.argmax() if tp[k, d] else slice(0)] = False
    return tp, ignored


def average_precision(photos, preds, n_names, W):
    """mAP and AP50 for every row of W (resamples x photos: how often each photo counts)."""
    none, eye, ap = np.zeros((0, 4)), np.eye(len(photos)), []
    for c in range(n_names):
        npos, rows = W @ np.array([len(p["gt"].get(c, none)) for p in photos]), []
        for i, (p, (box, label, score)) in enumerate(zip(photos, preds)):
            sel = np.flatnonzero(label == c)[:MAX_DETS]
            if len(sel) and c not in p["unsure"]:
                rows.append((score[sel], np.full(len(sel), i), *match(p["gt"].get(c, none), p["crowd"].get(c, none), box[sel])))
        a = np.zeros((len(IOUS), len(W)))
        if rows:
            score, photo, tp, ig = (np.concatenate(z, -1) for z in zip(*rows))
            o = np.argsort(-score, kind="stable")
            for k in np.flatnonzero(tp.any(1)):
                u = o[~ig[k][o]]
                ends = np.flatnonzero(np.append(np.diff(score[u]) != 0, True))     # last detection of each tied group
                ctp, call = np.cumsum(eye[photo[u]] * tp[k][u, None], 0)[ends], np.cumsum(eye[photo[u]], 0)[ends]
                gain = np.diff(ctp.sum(1), prepend=0) > 0                           # only groups that add recall matter
                hit, seen = W @ ctp[gain].T, W @ call[gain].T
                pre = np.maximum.accumulate((hit / np.maximum(seen, 1))[:, ::-1], 1)[:, ::-1]
                at = (hit[:, None] < npos[:, None, None] * np.linspace(0, 1, 101)[:, None] - 1e-9).sum(2)
                a[k] = np.take_along_axis(np.pad(pre, ((0, 0), (0, 1))), at, 1).mean(1)
        ap.append(np.where(npos > 0, a, np.nan))
    return np.nanmean(ap, (0, 1)), np.nanmean([a[0] for a in ap], 0)


def measure(photos, preds, n_names):
    found, fp = [], 0
    for p, (box, label, score) in zip(photos, preds):
        gt = np.concatenate([*p["gt"].values(), np.zeros((0, 4))])
        distinct = box[np.sort(np.unique(box, axis=0, return_index=True)[1])] if len(box) else box
        found += list(zip(*(iou(gt, distinct[:n]).max(1, initial=0) >= .5 for n in (50, 100))))
        fp += (np.isin(label, list(p["absent"])) & (score >= FP_SCORE)).sum()
    ap = np.ravel(average_precision(photos, preds, n_names, np.ones((1, len(photos)))))
    return np.array([*ap, *np.mean(found, 0), fp / len(photos)])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("set"), ap.add_argument("predictions"), ap.add_argument("--floors", action="store_true")
    args = ap.parse_args()
    photos, names = load_set(args.set)
    preds, n = load_predictions(args.predictions, photos, names), len(names)
    row = lambda t, v: print(f"{t:42s}" + "".join(f"{x:9.3f}" for x in v))
    print(f"{f'{len(photos)} photos, {n} names':42s}" + "".join(f"{t:>9s}" for t in ("mAP", "AP50", "R@50", "R@100", "FP/photo")))
    row("predictions", measure(photos, preds, n))
    if not args.floors:
        return
    side = np.repeat([[1], [.75], [.5], [.25]], n, 0) * [[-1, -1, 1, 1]]
    row("four centred boxes under every name", measure(photos, [
        pack((side + 1) / 2 * np.tile(p["size"], 2), np.tile(np.arange(n), 4), np.ones(4 * n)) for p in photos], n))
    true = [pack([b for B in p["gt"].values() for b in B], [c for c, B in p["gt"].items() for _ in B],
                 np.ones(sum(map(len, p["gt"].values())))) for p in photos]
    rng = lambda: map(np.random.default_rng, range(SEEDS))
    row("true boxes, random names (20 seeds)", np.mean([
        measure(photos, [(b, g.integers(0, n, len(l)), s) for b, l, s in true], n) for g in rng()], 0))
    row("true boxes, true names (ceiling)", measure(photos, true, n))
    mixed = [[(b, g.permutation(n)[l], s) for b, l, s in preds] for g in rng()]
    row("predictions, names permuted (20 seeds)", np.mean([measure(photos, m, n) for m in mixed], 0))
    once = np.ones(len(photos))
    W = np.vstack([once, np.random.default_rng(0).multinomial(len(photos), once / len(photos), RESAMPLES)])
    gap = np.array(average_precision(photos, preds, n, W)) - np.mean([average_precision(photos, m, n, W) for m in mixed], 0)
    for t, g in zip(("mAP", "AP50"), gap):
        print(f"{t} gap, predictions - permuted: {g[0]:.3f} [{np.percentile(g[1:], 2.5):.3f}, {np.percentile(g[1:], 97.5):.3f}]")


if __name__ == "__main__":
    main()
