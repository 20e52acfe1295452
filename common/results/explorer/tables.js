"use strict";
// Results as tables: what a statement returned, what it changed, or why there is nothing.

const LOOKS_OTHERWISE = /^\s*$|^\s|\s$|^[-+]?[\d.]+(e[-+]?\d+)?$|^null$/i;
const CHANGE_WORDS = { new: "is new", gone: "is gone", changed: "has another shape", rows: "has other rows" };

/** A cell: null, a text, or what is no text in a list of one. A text that reads like something else is in quotes. */
function cell(value) {
  if (value === null) return element("td", {}, element("em", { class: "null" }, "NULL"));
  if (Array.isArray(value)) return element("td", { class: "number" }, value[0]);
  return element("td", {}, LOOKS_OTHERWISE.test(value) ? `'${value}'` : value);
}

/** Rows with their columns. signs: one a row, shown before it, with the words that they stand for. */
function rowsTable(caption, columns, rows, signs) {
  const shown = rows.length ? rows[0].length : columns.length;
  const heads = Array.from({ length: shown }, (_, place) => columns[place] ?? `column ${place + 1}`);
  return element(
    "div",
    { class: "wide" },
    element(
      "table",
      {},
      element("caption", {}, caption),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          signs && head(element("span", { class: "unseen" }, "mark")),
          heads.map((name) => head(name)),
        ),
      ),
      element(
        "tbody",
        {},
        rows.map((row, place) =>
          element("tr", {}, signs && signCell(signs[place]), row.map(cell)),
        ),
      ),
    ),
  );
}

const SIGN_WORDS = { "≠": "only on this side", "+": "added", "−": "removed" };

function signCell(sign) {
  if (!sign) return element("td", { class: "sign" });
  return element(
    "td",
    { class: "sign", title: SIGN_WORDS[sign] },
    element("span", { "aria-hidden": "true" }, sign),
    element("span", { class: "unseen" }, SIGN_WORDS[sign]),
  );
}

function size(table) {
  const cuts = [];
  if (table.rows.length < table.total) cuts.push(`the first ${table.rows.length} rows`);
  if (table.rows.some((row) => row.length < table.width)) cuts.push(`the first ${table.rows[0].length} columns`);
  const words = `${count(table.total, "row")}, ${count(table.width, "column")}`;
  return cuts.length ? `${words}; shown are ${cuts.join(" and ")}` : words;
}

/** A row as a text, equal where a verdict takes the rows for equal, but for floats that part after nine digits. */
function rowKey(row) {
  return JSON.stringify(row.map((value) => (Array.isArray(value) ? [numberKey(value[0])] : value)));
}

function numberKey(text) {
  const number = Number(text);
  if (Number.isNaN(number)) return text;
  return Number.isInteger(number) ? String(number) : number.toPrecision(9);
}

/** A sign before each row that the other result does not have; none where either was cut. */
function signsOf(table, other) {
  if (!other || table.total > table.rows.length || other.total > other.rows.length) return undefined;
  const spare = new Map();
  for (const row of other.rows) spare.set(rowKey(row), (spare.get(rowKey(row)) ?? 0) + 1);
  const signs = table.rows.map((row) => {
    const left = spare.get(rowKey(row)) ?? 0;
    spare.set(rowKey(row), left - 1);
    return left > 0 ? "" : "≠";
  });
  return signs.some(Boolean) ? signs : undefined;
}

/** A result in full. other: the one beside it, whose rows are looked for. */
function resultView(result, other) {
  if (result.outcome) return element("p", {}, `No rows: ${result.detail}.`);
  const tables = result.tables.map((table, place) =>
    rowsTable(size(table), table.columns, table.rows, signsOf(table, other?.tables?.[place])),
  );
  const changes = (result.changes ?? []).map(changeView);
  if (result.changes && !changes.length) tables.push(element("p", {}, "It changes nothing."));
  return element("div", {}, tables, changes);
}

function changeView(change) {
  const words = `${change.name} ${CHANGE_WORDS[change.change]}`;
  if (!change.removed) return element("p", {}, `${words}.`);
  const { removed, added, stay } = change;
  const caption = `${words}: ${removed.total} removed, ${added.total} added, ${stay} unchanged`;
  const cut = removed.rows.length < removed.total || added.rows.length < added.total ? "; not all are shown" : "";
  const rows = [...removed.rows, ...added.rows];
  const signs = [...removed.rows.map(() => "−"), ...added.rows.map(() => "+")];
  const widest = removed.width > added.width ? removed : added;
  return rowsTable(caption + cut, widest.columns, rows, signs);
}

/** A database's tables with their rows. */
function databaseView(database) {
  if (database.outcome) return element("p", {}, `${database.detail}.`);
  return element(
    "div",
    { class: "tables" },
    database.tables.map((table) => rowsTable(`${table.name}: ${size(table)}`, table.columns, table.rows)),
  );
}
