// What people type, made safe and uniform: `clean_name` of fo1.prompts and `neutralise` of fo1.tags.

// What Python takes for space; JavaScript's \s differs in a few letters.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACES = new RegExp(`[${SPACE}]+`, "u");
const OPENING = new RegExp(`<(?=[^${SPACE}0-9=])`, "gu");
const OVERLAY = /(?<![\p{L}\p{N}_=])\u0338/gu;

/** Return a name on one line, spaces collapsed and markup made harmless; throw if nothing is left. */
export function cleanName(text) {
  const words = text.split(SPACES).filter(Boolean);
  if (!words.length) throw new Error("a name is empty; type a word or a phrase");
  const readable = words.join(" ").toWellFormed().replace(OVERLAY, "/");
  return withoutTags(readable).replace(OPENING, "\u2039");
}

/** Return the distinct clean names of a text in which ";" stands between names. */
export function splitNames(text) {
  const names = text.split(";").filter((name) => name.split(SPACES).some(Boolean));
  if (!names.length) throw new Error("no names; type what to look for, for example: cup; dog");
  return [...new Set(names.map(cleanName))];
}

/** Return text in which brackets that enclose something without spaces are quotation marks. */
function withoutTags(text) {
  const shown = Array.from(text);
  let opened = [];
  shown.forEach((letter, place) => {
    if (SPACES.test(letter)) opened = [];
    else if (letter === "<") opened.push(place);
    else if (letter === ">" && opened.length) {
      shown[opened.pop()] = "\u2039";
      shown[place] = "\u203a";
    }
  });
  return shown.join("");
}
