// Where a question is typed: Enter sends, Shift+Enter begins a new line; suggestions above, Ask and Stop beside.
// It also names the sliders of ipywidgets for screen readers, which that library leaves unnamed.

const PATIENCE = 5000; // milliseconds until a question that the kernel has not taken is told of

function element(tag, name, parent, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.className = name;
  if (parent) parent.append(made);
  return made;
}

function keepKeys(event) { // else JupyterLab takes Enter, Shift+Enter and letters for commands to its cells; Ctrl+S may pass
  if (event.key === "Enter" || !(event.ctrlKey || event.metaKey)) event.stopPropagation();
}

function nameSliders(root) {
  for (const row of root.querySelectorAll(".widget-slider")) {
    const label = row.querySelector(".widget-label")?.textContent.trim();
    if (!label) continue;
    for (const part of row.querySelectorAll("[role=slider], .widget-readout")) {
      if (part.getAttribute("aria-label") !== label) part.setAttribute("aria-label", label);
    }
    const readout = row.querySelector(".widget-readout");
    if (readout && !readout.hasAttribute("role")) readout.setAttribute("role", "spinbutton");
  }
}

function render({ model, el }) {
  el.classList.add("captionlab-composer");
  const chips = element("div", "captionlab-suggestions", el);
  chips.setAttribute("role", "group");
  const editing = element("div", "captionlab-editing", el);
  const editingText = element("span", "", editing);
  const cancel = element("button", "captionlab-button captionlab-small captionlab-edit-cancel", editing, { type: "button" });
  const row = element("div", "captionlab-row", el);
  const field = element("textarea", "captionlab-field", row, { rows: 2 });
  const ask = element("button", "captionlab-button captionlab-ask", row, { type: "button" });
  const stop = element("button", "captionlab-button captionlab-stop", row, { type: "button" });
  const notice = element("p", "captionlab-notice captionlab-ask-notice", el);
  notice.setAttribute("role", "status");

  function showWords() {
    const say = model.get("words");
    ask.textContent = say.ask;
    stop.textContent = say.stop;
    cancel.textContent = say.cancel;
    field.placeholder = say.placeholder;
    field.setAttribute("aria-label", say.question);
    chips.setAttribute("aria-label", say.suggestions);
    showEditing();
  }

  function showSuggestions() {
    chips.replaceChildren(...model.get("suggestions").map(([label, question]) => {
      const chip = element("button", "captionlab-chip", null, { type: "button", textContent: label, title: question });
      chip.addEventListener("click", () => { field.value = question; keep(); field.focus(); });
      return chip;
    }));
  }

  let ended = false;
  let patience = null;

  function showBusy() {
    ask.disabled = ended || model.get("busy");
    stop.disabled = ended || !model.get("busy");
  }

  function showEditing() {
    const number = model.get("editing");
    editing.hidden = number < 0;
    editingText.textContent = model.get("words").editing.replace("{number}", String(number + 1));
    if (number >= 0) field.focus();
  }

  function showValue() {
    if (field.value !== model.get("value")) field.value = model.get("value");
  }

  function showNotice() { notice.textContent = ended ? model.get("words").ended : model.get("notice"); }

  function showEnd(root) { // the class is ipywidgets' mark of a kernel that is gone
    if (ended || !root.classList.contains("jupyter-widgets-disconnected")) return;
    ended = true;
    clearTimeout(patience);
    showBusy();
    showNotice();
  }

  function keep() {
    model.set("value", field.value);
    model.save_changes();
  }

  function send() {
    if (ask.disabled) return;
    ask.disabled = true; // until the kernel says what it thinks of it: two clicks send one question
    clearTimeout(patience);
    patience = setTimeout(() => { notice.textContent = model.get("words").not_taken; }, PATIENCE);
    model.send({ kind: "ask", question: field.value });
  }

  field.addEventListener("input", keep);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return; // 229: an input method still composes
    event.preventDefault();
    send();
  });
  ask.addEventListener("click", send);
  stop.addEventListener("click", () => model.send({ kind: "stop" }));
  cancel.addEventListener("click", () => model.send({ kind: "cancel_edit" }));
  const answered = (message) => {
    if (message.kind !== "settled") return;
    clearTimeout(patience);
    showNotice();
    showBusy();
  };
  const watched = [["words", showWords], ["suggestions", showSuggestions], ["busy", showBusy], ["editing", showEditing], ["value", showValue], ["notice", showNotice]];
  for (const [name, act] of watched) { model.on(`change:${name}`, act); act(); }
  model.on("msg:custom", answered);

  let watcher = null;
  let life = null;
  const waiting = setInterval(() => { // the element joins the page after this function has returned
    const root = el.closest(".captionlab-chat");
    if (!root) return;
    clearInterval(waiting);
    root.addEventListener("keydown", keepKeys);
    nameSliders(root);
    watcher = new MutationObserver(() => nameSliders(root));
    watcher.observe(root, { childList: true, subtree: true, characterData: true });
    life = new MutationObserver(() => showEnd(root));
    life.observe(root, { attributes: true, attributeFilter: ["class"] });
  }, 200);
  return () => {
    clearInterval(waiting);
    clearTimeout(patience);
    watcher?.disconnect();
    life?.disconnect();
    for (const [name, act] of watched) model.off(`change:${name}`, act);
    model.off("msg:custom", answered);
  };
}

export default { render };
