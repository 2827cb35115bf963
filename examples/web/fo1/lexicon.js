// Which classes of the frozen encoders a name means: fo1.lexicon, line for line. The word lists are in the manifest.

const LONGEST_PHRASE = 200;
const LONGEST_NAME = 5;

/** Return lower-case words of letters and digits, one space apart; commas and the like become ",". */
export function normalise(text) {
  let plain = Array.from(text).slice(0, LONGEST_PHRASE).join("").normalize("NFKD").toLowerCase();
  plain = plain.replace(/['.\u2019\u0300-\u036f]/gu, "");
  plain = plain.replace(/[,;:!?()[\]|"]+/gu, " , ");
  plain = plain.replace(/[^\p{L}\p{N},]/gu, " ");
  return plain.split(/ +/).filter(Boolean).join(" ").replace(/^[, ]+|[, ]+$/g, "");
}

export class Lexicon {
  /**
   * @param {object} content of lexicon.json.gz
   * @param {Record<string, string[]>} rules the manifest's word lists
   */
  constructor(content, rules) {
    const entries = (table) => new Map(Object.entries(table));
    this.senses = entries(content.names);
    this.chosen = entries(content.meanings);
    this.irregular = entries(content.irregular);
    this.parents = content.parents;
    this.words = Object.fromEntries(Object.entries(rules).map(([k, v]) => [k, new Set(v)]));
    this.under = {};
    for (const [source, table] of Object.entries(content.sources)) {
      const under = new Map();
      table.senses.forEach((nodes, index) => {
        for (const node of this.#up(nodes)) {
          if (!under.has(node)) under.set(node, []);
          under.get(node).push(index);
        }
      });
      this.under[source] = under;
    }
  }

  /** Return ascending indices of the classes of a source that are the name, a synonym or a kind of it. */
  classes(name, source) {
    const found = new Set();
    for (const key of this.#keys(name))
      for (const node of this.#meanings(key))
        for (const index of this.under[source].get(node) ?? []) found.add(index);
    return [...found].sort((a, b) => a - b);
  }

  /** Whether a phrase is a known name and nothing more: "the dogs" is, "the left dog" is not. */
  isName(phrase) {
    let words = split(normalise(phrase));
    while (words.length && this.words.determiners.has(words[0])) words = words.slice(1);
    return this.#lookup(words).length > 0;
  }

  #up(nodes) {
    const reached = new Set(nodes);
    for (const node of reached) for (const parent of this.parents[node]) reached.add(parent);
    return reached;
  }

  #meanings(key) {
    const chosen = this.chosen.get(key);
    return chosen?.length ? chosen : (this.senses.get(key) ?? []);
  }

  #keys(phrase) {
    const { determiners, measures, trailing } = this.words;
    let words = split(normalise(phrase));
    let keys = this.#lookup(words);
    if (keys.length) return keys;
    while (words.length && (determiners.has(words[0]) || /^\p{Nd}+$/u.test(words[0])))
      words = words.slice(1);
    keys = this.#lookup(words);
    if (keys.length) return keys;
    if (words.length > 2 && words[1] === "of" && singulars(words[0]).some((w) => measures.has(w)))
      return this.#keys(words.slice(2).join(" "));
    const [head, end] = this.#cut(words);
    if (head.length) return head;
    words = words.slice(0, end);
    while (words.length) {
      for (let start = Math.max(0, words.length - LONGEST_NAME); start < words.length; start++) {
        keys = this.#lookup(words.slice(start));
        if (keys.length) return keys;
      }
      const last = words.at(-1);
      if (!trailing.has(last) && !/(?:ing|ed|ly)$/u.test(last)) return [];
      words = words.slice(0, -1);
    }
    return [];
  }

  /** Return where the first noun phrase ends, or the name that spans that point. */
  #cut(words) {
    for (let index = 1; index < words.length; index++) {
      if (!this.#endsPhrase(words, index)) continue;
      for (let start = Math.max(0, index - LONGEST_NAME); start < index; start++) {
        const longest = Math.min(words.length, start + LONGEST_NAME);
        for (let end = longest; end > index + 1; end--) {
          const keys = words[index] === "," ? [] : this.#lookup(words.slice(start, end));
          if (keys.length) return [keys, index];
        }
      }
      return [[], index];
    }
    return [[], words.length];
  }

  #endsPhrase(words, index) {
    const { relations, determiners, colours, actions } = this.words;
    const word = words[index];
    const known = (some) => this.#lookup(some).length > 0;
    if (word === "," || relations.has(word) || determiners.has(word)) return true;
    if (word === "and" || word === "or")
      return !colours.has(words[index - 1]) && known([words[index - 1]]);
    const isVerb =
      actions.has(word) ||
      (word.endsWith("ing") && !known([word]) && !known(words.slice(index, index + 2)));
    return isVerb && known([words[index - 1]]);
  }

  /** Return known names spelt by exactly these words, singular or plural, open or closed. */
  #lookup(words) {
    if (!words.length || words.length > LONGEST_NAME) return [];
    const stem = words.slice(0, -1);
    const last = words.at(-1);
    const forms = [...singulars(last), this.irregular.get(last) ?? last, `${last}s`];
    const has = (name) => this.senses.has(name) || this.chosen.has(name);
    const open = (form) => [...stem, form].join(" ");
    let found = forms.slice(0, -1).map(open).filter(has);
    if (!found.length) {
      const closed = words.length === 2 ? forms.map((form) => [...stem, form].join("")) : [];
      const opened = words.length === 1 ? splits(last) : [];
      found = [open(forms.at(-1)), ...closed, ...opened].filter(has).slice(0, 1);
    }
    return [...new Set(found)];
  }
}

const split = (text) => text.split(" ").filter(Boolean);

/** Return the word itself, then what it may be the plural of. */
function singulars(word) {
  const found = [word];
  const letters = Array.from(word).length;
  if (word.endsWith("men")) found.push(`${word.slice(0, -3)}man`);
  if (letters < 4 || word.endsWith("ss") || !word.endsWith("s")) return found;
  if (word.endsWith("ies")) found.push(`${word.slice(0, -3)}y`);
  else if (word.endsWith("ves")) found.push(`${word.slice(0, -3)}f`, `${word.slice(0, -3)}fe`);
  if (/(?:ch|sh|x|s|z|o)es$/u.test(word)) found.push(word.slice(0, -2));
  found.push(word.slice(0, -1));
  return found;
}

function splits(word) {
  const letters = Array.from(word);
  const found = [];
  for (let cut = 3; cut < letters.length - 2; cut++) {
    const [first, rest] = [letters.slice(0, cut).join(""), letters.slice(cut).join("")];
    found.push(`${first} ${rest}`);
    if (word.endsWith("s")) found.push(`${first} ${rest.slice(0, -1)}`);
  }
  return found;
}
