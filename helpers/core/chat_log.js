// The conversation: one article an exchange, one column a system. All that people and models wrote is set with textContent,
// so nothing in it can become a tag, a script or a formula. A growing answer changes one text node, and the list follows
// its end only while the reader is there.

const UNFINISHED = ["waiting", "loading", "writing"];

function element(tag, name, parent, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (parent) parent.append(made);
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(name, parent, text, act) {
  const made = element("button", `captionlab-button captionlab-small ${name}`, parent, text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

function fillAnswer(box, answer) {
  box.dataset.state = answer.state;
  box.setAttribute("aria-busy", String(UNFINISHED.includes(answer.state))); // a screen reader reads it when it is whole
  const text = box.querySelector(".captionlab-text");
  if (answer.pieces) {
    text.replaceChildren(...answer.pieces.map(([piece, mark]) => mark ? element("mark", `captionlab-${mark}`, null, piece) : document.createTextNode(piece)));
  } else {
    text.textContent = answer.text;
  }
  box.querySelector(".captionlab-why").textContent = answer.why;
  box.querySelector(".captionlab-faults").textContent = answer.faults;
  box.querySelector(".captionlab-missed").textContent = answer.missed;
  box.querySelector(".captionlab-state").textContent = answer.state_word;
  box.querySelector(".captionlab-badge").textContent = answer.badge;
}

function drawExchange(model, exchange, index) {
  const say = model.get("words");
  const article = element("article", "captionlab-exchange");
  const head = element("header", "captionlab-question", article);
  const image = element("img", "", head);
  image.src = exchange.thumb;
  image.alt = exchange.name;
  const asked = element("div", "captionlab-asked", head);
  element("span", "captionlab-you", asked, say.question_was);
  element("p", "captionlab-question-text", asked, exchange.question);
  const columns = element("div", "captionlab-columns", article);
  for (const answer of exchange.answers) {
    const box = element("section", "captionlab-answer", columns);
    box.dataset.system = answer.system;
    box.setAttribute("aria-label", answer.label);
    element("h3", "captionlab-system", box, answer.label);
    element("p", "captionlab-text", box);
    element("p", "captionlab-why", box);
    element("p", "captionlab-faults", box);
    element("p", "captionlab-missed", box);
    const foot = element("footer", "captionlab-foot", box);
    element("span", "captionlab-state", foot);
    element("span", "captionlab-badge", foot);
    fillAnswer(box, answer);
  }
  if (exchange.truth) {
    const truth = element("p", "captionlab-truth", article);
    element("strong", "", truth, say.truth_is + " ");
    element("span", "", truth, exchange.truth);
  }
  const tools = element("div", "captionlab-tools", article);
  const act = (action) => () => model.send({ kind: action, index });
  if (exchange.can_again) button("captionlab-again", tools, say.again, act("again"));
  if (exchange.can_edit) button("captionlab-edit", tools, say.edit, act("edit"));
  if (exchange.can_truth) {
    const made = button("captionlab-show-truth", tools, exchange.truth ? say.hide_truth : say.truth, act("truth"));
    made.setAttribute("aria-pressed", String(Boolean(exchange.truth)));
  }
  return article;
}

function download(name, type, data) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([data], { type }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function render({ model, el }) {
  el.classList.add("captionlab-conversation");
  const list = element("div", "captionlab-log", el);
  list.setAttribute("role", "log");
  list.setAttribute("aria-live", "polite");
  list.tabIndex = 0;
  const empty = element("p", "captionlab-empty", list);

  function showWords() {
    list.setAttribute("aria-label", model.get("words").conversation);
    empty.textContent = model.get("words").empty;
  }

  const articles = () => list.querySelectorAll(":scope > article");

  function atEnd(change) {
    const following = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    change();
    empty.hidden = articles().length > 0;
    if (following) list.scrollTop = list.scrollHeight;
  }

  function put(exchange, index) {
    const made = drawExchange(model, exchange, index);
    const old = articles()[index];
    const pressed = old?.contains(document.activeElement) ? document.activeElement.className : "";
    if (old) old.replaceWith(made);
    else list.append(made);
    if (pressed) (made.getElementsByClassName(pressed)[0] ?? list).focus({ preventScroll: true }); // a keyboard stays where it was
  }

  function truncate(length) {
    [...articles()].slice(length).forEach((article) => article.remove());
  }

  function receive(message, buffers) {
    if (message.kind === "all") atEnd(() => { truncate(0); message.exchanges.forEach(put); });
    else if (message.kind === "exchange") atEnd(() => put(message.exchange, message.index));
    else if (message.kind === "truncate") atEnd(() => truncate(message.length));
    else if (message.kind === "answer") {
      const box = articles()[message.index]?.querySelectorAll(".captionlab-answer")[message.column];
      if (box) atEnd(() => fillAnswer(box, message.answer));
    } else if (message.kind === "file" && message.view === id) download(message.name, message.type, buffers[0]);
  }

  // Several views may show one conversation (JupyterLab's "new view"): a file is meant for one of them, the newest.
  const id = `${Date.now()}-${Math.random()}`;
  model.on("msg:custom", receive);
  model.on("change:words", showWords);
  showWords();
  model.send({ kind: "hello", view: id });
  return () => {
    model.off("msg:custom", receive);
    model.off("change:words", showWords);
  };
}

export default { render };
