"use strict";
// The page as a whole: the address says what is shown; everything else changes the address.

const TYPING_MILLISECONDS = 120;

async function start() {
  const form = document.getElementById("filters");
  const main = document.getElementById("main");
  const status = document.getElementById("status");
  const title = document.title;
  const packed = document.getElementById("contents");
  const model = modelOf(await unpack(packed.textContent));
  packed.remove();

  let state = stateOf(location.hash, model);
  let hits = [];
  let filter; // that `hits` are of
  let opened = ""; // key of the row that is open, or was last
  let isOpen = false;
  let aim = ""; // what takes the focus when the list is shown: search, first or last row
  let timer = 0; // of what is being typed, 0 for nothing

  function show() {
    const wasOpen = isOpen;
    state = stateOf(location.hash, model);
    const wanted = JSON.stringify(FILTERS.map((name) => state[name]));
    if (wanted !== filter) hits = select(model, state);
    filter = wanted;
    showFilters(form, state, timer > 0);
    const row = model.rows[model.places.get(key(state.open, state.by))];
    isOpen = row !== undefined;
    form.hidden = isOpen;
    main.replaceChildren(isOpen ? answerView(model, state, row, hits) : listView(model, state, hits));
    scrollable(main);
    if (isOpen) {
      opened = key(state.open, state.by);
      document.title = `${row.question.question} (${row.method})`;
      say(`Answer of ${row.method}, ${VERDICT_WORDS[headline(row.answer)]}.`);
      scrollTo(0, 0);
      document.getElementById("question").focus({ preventScroll: true });
      return;
    }
    document.title = title;
    const unknown = state.open ? `There is no answer of “${state.by}” to “${state.open}” here. ` : "";
    say(`${unknown}${hits.length.toLocaleString("en")} of ${count(model.rows.length, "answer")}.`);
    if (wasOpen || aim) focusList();
  }

  function say(words) {
    if (status.textContent !== words) status.textContent = words;
  }

  const links = () => [...main.querySelectorAll("a.open")];

  /** The focus goes to what `aim` says, else to where the reader was. */
  function focusList() {
    if (aim === "search") {
      form.elements.q.focus();
      form.elements.q.select();
    } else focusLink();
    aim = ""; // it holds once
  }

  function focusLink() {
    const rows = links();
    const target = aim ? rows.at(aim === "last" ? -1 : 0) : rows.find((link) => link.dataset.key === opened);
    (target ?? rows[0] ?? main).focus({ preventScroll: true });
    (target ?? main).scrollIntoView({ block: aim === "first" ? "nearest" : "center" });
  }

  /** Change the filters. Typing adds nothing to the history, or Back would go letter by letter. */
  function change(values, isTyping) {
    clearTimeout(timer);
    const go = () => {
      timer = 0;
      const hash = hashOf(stateOf(hashOf({ ...state, ...values, page: "1" }), model));
      if (isTyping) location.replace(hash);
      else location.hash = hash;
    };
    if (isTyping) timer = setTimeout(go, TYPING_MILLISECONDS);
    else go();
  }

  /** In the list: the row above or below, on the page before or after where this one ends. */
  function move(event) {
    const rows = links();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const inSearch = event.target === form.elements.q && event.key === "ArrowDown";
    const place = inSearch ? -1 : rows.indexOf(event.target);
    if (!step || (place < 0 && !inSearch) || !rows.length) return false;
    const next = rows[place + step];
    if (next) next.focus();
    else turn(step);
    return true;
  }

  function turn(step) {
    const link = main.querySelector(`a[rel=${step > 0 ? "next" : "prev"}]`);
    if (!link) return;
    aim = step > 0 ? "first" : "last";
    location.hash = link.hash;
  }

  function press(event) {
    const isTyping = event.target.matches("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { Escape: "list", n: "next", p: "previous" }[event.key];
    const link = isOpen && step && main.querySelector(`a[data-step=${step}]`);
    if (link) link.click();
    else if (event.key === "/" && !isTyping) {
      aim = "search";
      if (isOpen) main.querySelector("a[data-step=list]").click();
      else focusList();
    } else if (isOpen || !move(event)) return;
    event.preventDefault();
  }

  document.querySelector("header").append(folded("The methods", methodsView(model)));
  form.append(...filterFields(model, change).flat());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    form.elements.q.value = "";
    location.hash = "#/";
    form.elements.q.focus();
  });
  main.addEventListener("click", (event) => {
    const link = event.target.closest("a[rel], .empty a"); // it will be gone, and the focus with it
    if (link) aim = "first";
  });
  document.addEventListener("keydown", press);
  addEventListener("hashchange", show);
  form.hidden = false;
  show();
}

/** What is wider than the screen can be scrolled with the keyboard too. */
function scrollable(root) {
  for (const node of root.querySelectorAll(".wide, .code")) {
    if (node.scrollWidth > node.clientWidth) node.tabIndex = 0;
  }
}

start().catch((error) => {
  document.getElementById("status").textContent = `The page cannot be shown: ${error.message}`;
});
