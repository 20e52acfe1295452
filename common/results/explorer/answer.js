"use strict";
// One answer in full: question, schema, reference and answer with both results, and what the other methods answered.

/** The view of a row. hits: rows of the list; state: what the address holds; close: its link. */
function answerView(model, state, row, hits) {
  const { question, answer, method } = row;
  const others = state.other && state.other !== method ? [state.other] : [];
  const refusals = [method, ...others].filter((name) => answerOf(model, question, name).refusal);
  return element(
    "article",
    { "aria-labelledby": "question" },
    steps(model, state, row, hits),
    element("h2", { id: "question", tabindex: "-1" }, question.question),
    element(
      "p",
      { class: "facts" },
      [question.id, question.split, question.complexity, question.task, question.domain].filter(Boolean).join(" · "),
    ),
    element(
      "section",
      { "aria-label": "Reference and answer" },
      element(
        "div",
        { class: "sides" },
        referenceView(question),
        [method, ...others].map((name) => sideView(model, question, name)),
      ),
    ),
    refusals.length > 0 && generatedView(model, question, refusals),
    schemaView(model, question),
    othersView(model, state, question, method),
  );
}

/** Links to the list, the previous and the next row. */
function steps(model, state, row, hits) {
  const place = hits.indexOf(row);
  const link = (hit, name, words) =>
    hit
      ? element("a", { class: "button", "data-step": name, href: openHash(state, hit) }, words)
      : element("span", { class: "button off", "aria-disabled": "true" }, words);
  return element(
    "nav",
    { "aria-label": "Answers of the list", class: "steps" },
    element("a", { class: "button", "data-step": "list", href: closedHash(state, place) }, "Back to the list"),
    link(hits[place - 1], "previous", "Previous"),
    link(place < 0 ? hits[0] : hits[place + 1], "next", "Next"),
    element(
      "span",
      {},
      place < 0
        ? "not among the list’s answers"
        : `${(place + 1).toLocaleString("en")} of ${count(hits.length, "answer")}`,
    ),
  );
}

/** The list, on the page where the row stands; place: its place in the list, -1 where it is not among them. */
function closedHash(state, place) {
  const page = place < 0 ? state.page : String(Math.floor(place / PAGE) + 1);
  return hashOf({ ...state, open: "", by: "", page });
}

const openHash = (state, row) => hashOf({ ...state, open: row.question.id, by: row.method });

function referenceView(question) {
  return element(
    "section",
    { "aria-label": "Reference" },
    element("h3", {}, "Reference"),
    code(question.sql, "SQL of the reference"),
    element("h4", {}, "Its result"),
    resultView(question.results[question.result]),
  );
}

function sideView(model, question, method) {
  const answer = answerOf(model, question, method);
  const result = question.results[answer.result];
  const sql = answer.sql ?? answer.completion;
  return element(
    "section",
    { "aria-label": `Answer of ${method}` },
    element("h3", {}, method),
    sql ? code(sql, `SQL of ${method}`) : element("p", {}, "There is no SQL in this answer."),
    verdictsView(answer),
    element("p", {}, reason(model, answer)),
    element("h4", {}, "Its result"),
    result ? resultView(result, question.results[question.result]) : noResult(model, answer),
    answer.sql !== undefined &&
      folded("The answer as the model wrote it", code(answer.completion, "Answer")),
    element(
      "p",
      { class: "facts" },
      `score ${answer.scores[0]} · published score ${answer.scores[1]} · ROUGE-L ${answer.scores[2]}`,
    ),
  );
}

function verdictsView(answer) {
  return element(
    "ul",
    { class: "verdicts", "aria-label": "Verdicts" },
    KINDS.map((kind, place) => element("li", {}, `${kind}: `, verdict(answer.verdicts[place], true))),
  );
}

/** The outcome in words, with the scorer's reason. */
function reason(model, answer) {
  const words = `${answer.outcome}: ${model.contents.outcomes[answer.outcome]}`;
  const empty = answer.empty ? " Neither side returned a row, which is weak evidence." : "";
  return `${words}${answer.detail ? ` (${answer.detail})` : ""}.${empty}`;
}

function noResult(model, answer) {
  return element("p", {}, `No rows: ${answer.detail || model.contents.outcomes[answer.outcome]}.`);
}

/** Each generated database that refuses one of the answers, with what the two sides return there. */
function generatedView(model, question, methods) {
  const answers = methods.map((method) => ({ method, ...answerOf(model, question, method) }));
  const numbers = [...new Set(answers.map((answer) => answer.refusal.number))];
  return numbers.map((number) => {
    const { database, result } = question.generated[number];
    const reference = question.results[result];
    const refused = answers.filter((answer) => answer.refusal.number === number);
    return element(
      "section",
      { "aria-label": `Generated database ${number}` },
      element("h3", {}, `Why robust says no: generated database ${number} of ${model.contents.databases}`),
      element(
        "div",
        { class: "sides" },
        element(
          "section",
          { "aria-label": "Reference there" },
          element("h4", {}, "Reference there"),
          resultView(reference, question.results[refused[0].refusal.result]),
        ),
        refused.map((answer) =>
          element(
            "section",
            { "aria-label": `Answer of ${answer.method} there` },
            element("h4", {}, `${answer.method} there`),
            resultView(question.results[answer.refusal.result], reference),
          ),
        ),
      ),
      folded("The tables of this database", databaseView(database)),
    );
  });
}

function schemaView(model, question) {
  const schema = model.contents.schemas[question.schema];
  return element(
    "section",
    { "aria-label": "Schema" },
    element("h3", {}, "Schema"),
    databaseView(schema.database),
    folded("Its SQL, as the prompt has it", code(schema.sql, "SQL of the schema")),
  );
}

function othersView(model, state, question, method) {
  return element(
    "section",
    { "aria-label": "All methods" },
    element("h3", {}, "All methods on this question"),
    element(
      "div",
      { class: "wide" },
      element(
        "table",
        { class: "methods" },
        element(
          "thead",
          {},
          element("tr", {}, ["method", "outcome", ...KINDS, "SQL"].map((name) => head(name))),
        ),
        element(
          "tbody",
          {},
          model.names.map((name) => {
            const answer = answerOf(model, question, name);
            return element(
              "tr",
              { "aria-current": name === method ? "true" : undefined },
              element(
                "th",
                { scope: "row" },
                name === method ? name : element("a", { href: openHash(state, { question, method: name }) }, name),
              ),
              element("td", {}, answer.outcome),
              [...answer.verdicts].map((letter) => element("td", {}, verdict(letter))),
              element("td", { class: "sql" }, element("code", {}, answer.sql ?? answer.completion)),
            );
          }),
        ),
      ),
    ),
  );
}
