"use strict";
// Every element is made here. Texts become text nodes, never HTML: what a model wrote may hold anything.

const EMPTY = new Set([undefined, null, false, ""]);

/** An element with attributes, listeners (`onclick: function`) and children; empty ones are left out. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => !EMPTY.has(child)));
  return node;
}

/** "1 row", "1,280 rows". */
function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

const VERDICT_WORDS = { y: "right", n: "wrong", "-": "not judged" };
const VERDICT_SIGNS = { y: "✓", n: "✗", "-": "–" };

/** A verdict as a sign; its word is there for those who hear it, or for all where `inWords`. */
function verdict(letter, inWords = false) {
  const word = VERDICT_WORDS[letter];
  const sign = element("span", { "aria-hidden": "true" }, VERDICT_SIGNS[letter]);
  return element(
    "span",
    { class: `verdict ${word.replace(" ", "-")}`, title: word },
    sign,
    element("span", { class: inWords ? "" : "unseen" }, ` ${word}`),
  );
}

/** The head of a column. */
function head(name, role) {
  return element("th", { scope: "col", role }, name);
}

/** What is shown when its heading is chosen. */
function folded(words, content) {
  return element("details", {}, element("summary", {}, words), content);
}

/** SQL or any other text as it stands; a wide one can be scrolled. */
function code(text, label) {
  return element("pre", { class: "code", "aria-label": label }, element("code", {}, text));
}
