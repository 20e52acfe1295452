"use strict";
// The answers as rows, the state that the address holds, and which rows a state asks for.

const KINDS = ["published", "strict", "robust"];
const START = {
  q: "", method: "", other: "", pair: "", split: "", complexity: "", task: "", outcome: "", verdicts: "",
  page: "1", open: "", by: "",
};
const FILTERS = ["q", "method", "other", "pair", "split", "complexity", "task", "outcome", "verdicts"];

/** The headline: robust where databases were generated, else strict. */
const headline = (answer) => (answer.verdicts[2] === "-" ? answer.verdicts[1] : answer.verdicts[2]);
const isRight = (answer) => headline(answer) === "y";
const differ = (one, other) => (answer) => answer.verdicts[one] === "y" && answer.verdicts[other] === "n";

const VERDICT_FILTERS = {
  right: ["right", isRight],
  wrong: ["wrong", (answer) => headline(answer) === "n"],
  differ: ["the verdicts differ", (answer) => answer.verdicts.includes("y") && answer.verdicts.includes("n")],
  "strict-robust": ["strict right, robust wrong", differ(1, 2)],
  "published-strict": ["published right, strict wrong", differ(0, 1)],
  "published-robust": ["published right, robust wrong", differ(0, 2)],
  "strict-published": ["strict right, published wrong", differ(1, 0)],
  "robust-published": ["robust right, published wrong", differ(2, 0)],
  empty: ["right, and no rows on both sides", (answer) => answer.empty && isRight(answer)],
};
const PAIR_FILTERS = {
  differ: ["one right, one wrong", (one, other) => isRight(one) !== isRight(other)],
  first: ["only the first right", (one, other) => isRight(one) && !isRight(other)],
  second: ["only the second right", (one, other) => !isRight(one) && isRight(other)],
  right: ["both right", (one, other) => isRight(one) && isRight(other)],
  wrong: ["both wrong", (one, other) => !isRight(one) && !isRight(other)],
  outcome: ["other outcomes", (one, other) => one.outcome !== other.outcome],
  sql: ["another answer", (one, other) => one !== other],
};

/** The contents of the page, from deflated JSON in base64. */
async function unpack(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the page. Use a version from 2023 or later.");
  }
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** `rows`: question by question, in each the methods in their order; `places`: a row's place by `key`. */
function modelOf(contents) {
  const names = contents.methods.map((method) => method.name);
  const rows = [];
  const places = new Map();
  for (const question of contents.questions) {
    question.text = [question.id, question.question, question.sql, question.domain].join("\n").toLowerCase();
    for (const answer of question.answers) {
      answer.text = [answer.completion, answer.detail ?? ""].join("\n").toLowerCase();
    }
    question.given.forEach((place, number) => {
      places.set(key(question.id, names[number]), rows.length);
      rows.push({ question, method: names[number], answer: question.answers[place] });
    });
  }
  const values = (name) => [...new Set(contents.questions.map((question) => question[name]))].filter(Boolean);
  const outcomes = new Set(rows.map((row) => row.answer.outcome));
  return {
    contents, names, rows, places,
    choices: {
      method: names,
      other: names,
      pair: Object.keys(PAIR_FILTERS),
      split: values("split"),
      complexity: values("complexity").sort(),
      task: values("task").sort(),
      outcome: Object.keys(contents.outcomes).filter((outcome) => outcomes.has(outcome)),
      verdicts: Object.keys(VERDICT_FILTERS),
    },
  };
}

const key = (id, method) => `${id}\n${method}`;

/** What a method answered to a question. */
function answerOf(model, question, method) {
  return question.answers[question.given[model.names.indexOf(method)]];
}

/** The state of an address; what it names and this page has not is left out. */
function stateOf(hash, model) {
  const values = new URLSearchParams(hash.replace(/^#\/?\??/, ""));
  const state = { ...START };
  for (const name of Object.keys(START)) state[name] = values.get(name) ?? START[name];
  for (const [name, choices] of Object.entries(model.choices)) {
    if (!choices.includes(state[name])) state[name] = "";
  }
  if (!state.method || state.other === state.method) state.other = "";
  if (!state.other) state.pair = "";
  if (!/^[1-9]\d{0,5}$/.test(state.page)) state.page = "1";
  return state;
}

/** The address of a state. */
function hashOf(state) {
  const values = Object.entries(state).filter(([name, value]) => value !== START[name]);
  return `#/${values.length ? "?" : ""}${new URLSearchParams(values)}`;
}

/** The rows that a state asks for, in their order. */
function select(model, state) {
  const words = state.q.toLowerCase();
  const passes = VERDICT_FILTERS[state.verdicts]?.[1];
  const compare = PAIR_FILTERS[state.pair]?.[1];
  return model.rows.filter(
    ({ question, method, answer }) =>
      (!state.method || method === state.method) &&
      (!state.split || question.split === state.split) &&
      (!state.complexity || question.complexity === state.complexity) &&
      (!state.task || question.task === state.task) &&
      (!state.outcome || answer.outcome === state.outcome) &&
      (!passes || passes(answer)) &&
      (!compare || compare(answer, answerOf(model, question, state.other))) &&
      (!words || question.text.includes(words) || answer.text.includes(words)),
  );
}
