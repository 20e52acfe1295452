"use strict";
// The filters above, and the rows that pass them, a page at a time.

const PAGE = 50;
const FILTER_WORDS = {
  q: "text", method: "method", other: "compared with", pair: "the two", split: "split", complexity: "complexity",
  task: "task", outcome: "outcome", verdicts: "verdicts",
};
const ANY = { other: "no other method", pair: "any verdicts" };

/** The filters' fields, once; `onchange(values, isTyping)` is told the ones that differ from before. */
function filterFields(model, onchange) {
  const words = (name, value) => ({ pair: PAIR_FILTERS, verdicts: VERDICT_FILTERS })[name]?.[value][0] ?? value;
  const search = element("input", {
    type: "search", id: "filter-q", name: "q", autocomplete: "off", spellcheck: "false",
    oninput: (event) => onchange({ q: event.target.value }, true),
  });
  const fields = FILTERS.filter((name) => name !== "q").map((name) =>
    field(
      name,
      element(
        "select",
        { id: `filter-${name}`, name, onchange: (event) => onchange({ [name]: event.target.value }, false) },
        element("option", { value: "" }, ANY[name] ?? "any"),
        model.choices[name].map((value) => element("option", { value }, words(name, value))),
      ),
    ),
  );
  return [
    field("q", search, "text in question, SQL or answer"),
    fields,
    element("button", { type: "reset", class: "button" }, "Clear all filters"),
  ];
}

function field(name, control, words = FILTER_WORDS[name]) {
  return element("div", { class: `field ${name}` }, element("label", { for: `filter-${name}` }, words), control);
}

/** Show a state's values in the fields. What is being typed is ahead of the state and stays as it is. */
function showFilters(form, state, isTyping) {
  for (const name of FILTERS) {
    if (name !== "q" || !isTyping) form.elements[name].value = state[name];
  }
  form.elements.other.disabled = !state.method;
  form.elements.pair.disabled = !state.other;
  for (const option of form.elements.pair.options) {
    const words = PAIR_FILTERS[option.value]?.[0] ?? ANY.pair;
    option.textContent = words.replace("the first", state.method || "$&").replace("the second", state.other || "$&");
  }
}

/** The page of the list that a state asks for, or what to change where there is none. */
function listView(model, state, hits) {
  if (!hits.length) return emptyView(state);
  const pages = Math.ceil(hits.length / PAGE);
  const page = Math.min(Number(state.page), pages);
  const rows = hits.slice((page - 1) * PAGE, page * PAGE);
  const heads = ["question", "method", "outcome", ...(state.other ? [`outcome of ${state.other}`] : []), ...KINDS];
  // Explicit roles: on a phone the table is shown as blocks, which would take its meaning away.
  return element(
    "section",
    { "aria-label": "Answers" },
    pagesView(state, page, pages, "Pages"),
    element(
      "table",
      { class: "list", role: "table", "aria-label": "Answers", "aria-rowcount": String(hits.length + 1) },
      element(
        "thead",
        { role: "rowgroup" },
        element("tr", { role: "row" }, heads.map((name) => head(name, "columnheader"))),
      ),
      element(
        "tbody",
        { role: "rowgroup" },
        rows.map((row, place) => listRow(model, state, row, (page - 1) * PAGE + place + 2)),
      ),
    ),
    pagesView(state, page, pages, "Pages, again"),
  );
}

function listRow(model, state, row, number) {
  const { question, method, answer } = row;
  const other = state.other && answerOf(model, question, state.other);
  const part = (name, child) => element("td", { role: "cell", "data-name": name }, child);
  return element(
    "tr",
    { role: "row", "aria-rowindex": String(number) },
    element(
      "td",
      { role: "cell", class: "question" },
      element("a", { class: "open", href: openHash(state, row), "data-key": key(question.id, method) },
        question.question),
      element("span", { class: "facts" }, `${question.id} · ${question.complexity}`),
    ),
    part("method", method),
    part("outcome", answer.outcome),
    other && part(state.other, other.outcome),
    KINDS.map((kind, place) => part(kind, verdict(answer.verdicts[place]))),
  );
}

function pagesView(state, page, pages, label) {
  if (pages === 1) return "";
  const link = (to, words, rel) =>
    to < 1 || to > pages
      ? element("span", { class: "button off", "aria-disabled": "true" }, words)
      : element("a", { class: "button", rel, href: hashOf({ ...state, page: String(to) }) }, words);
  return element(
    "nav",
    { class: "steps", "aria-label": label },
    link(page - 1, "Previous page", "prev"),
    link(page + 1, "Next page", "next"),
    element("span", {}, `page ${page} of ${pages}`),
  );
}

/** The runs that the answers are of. */
function methodsView(model) {
  const heads = ["method", "model", "kind", "right on test [95 %]"];
  return element(
    "div",
    { class: "wide" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, heads.map((name) => head(name)))),
      element(
        "tbody",
        {},
        model.contents.methods.map((method) =>
          element(
            "tr",
            {},
            element("th", { scope: "row" }, method.name),
            [method.model, method.kind, method.right].map((text) => element("td", {}, text)),
          ),
        ),
      ),
    ),
  );
}

function emptyView(state) {
  const active = FILTERS.filter((name) => state[name]);
  return element(
    "section",
    { "aria-label": "No answers", class: "empty" },
    element("h2", {}, "No answer passes all of these filters"),
    element("p", {}, "Take one of them away:"),
    element(
      "ul",
      {},
      active.map((name) =>
        element(
          "li",
          {},
          element(
            "a",
            { class: "button", href: hashOf({ ...state, [name]: "", page: "1" }) },
            `without ${FILTER_WORDS[name]} “${state[name]}”`,
          ),
        ),
      ),
      element("li", {}, element("a", { class: "button", href: "#/" }, "without any filter")),
    ),
  );
}
