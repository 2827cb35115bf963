// Byte-level BPE from a tokenizer.json, for names alone: `cleanName` leaves no special token in them.

const CONTRACTION = "'(?:[sS\\u017f]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])";
const PIECES = new RegExp(
  `${CONTRACTION}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\p{White_Space}\\p{L}\\p{N}]+[\\r\\n]*` +
    "|\\p{White_Space}*[\\r\\n]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
  "gu",
);

export class Tokenizer {
  /** @param {object} stored the content of tokenizer.json */
  constructor(stored) {
    const { model, normalizer } = stored;
    const steps = (normalizer.normalizers ?? [normalizer]).map((step) => step.type).join();
    if (model.type !== "BPE" || steps !== "NFC,Lowercase")
      throw new Error("tokenizer.json is of another kind; export the model again");
    this.vocabulary = new Map(Object.entries(model.vocab));
    this.ranks = new Map(
      model.merges.map((pair, rank) => [Array.isArray(pair) ? pair.join(" ") : pair, rank]),
    );
    this.letters = byteLetters();
    this.encoder = new TextEncoder();
  }

  /** Return the token ids of a clean name. */
  encode(name) {
    // Letter by letter: the lower case of a word depends on its end in Greek, which the model never saw.
    const lower = Array.from(name.normalize("NFC"), (letter) => letter.toLowerCase()).join("");
    return (lower.match(PIECES) ?? []).flatMap((piece) => this.#merge(piece));
  }

  #merge(piece) {
    const parts = Array.from(this.encoder.encode(piece), (byte) => this.letters[byte]);
    for (;;) {
      let best = Infinity;
      let place = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
        if (rank < best) [best, place] = [rank, i];
      }
      if (place < 0) break;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
    return parts.map((part) => this.vocabulary.get(part)).filter((id) => id !== undefined);
  }
}

/** Return the printable letter that stands for each of the 256 bytes. */
function byteLetters() {
  let spare = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    return String.fromCharCode(printable ? byte : spare++);
  });
}
