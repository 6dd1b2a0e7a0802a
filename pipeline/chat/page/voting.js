// What people think of answers: which of two is better, whether one is good, how it would be better.
import { vote } from "./outbox.js";
import { by, element, say, text } from "./words.js";

const KEYS = { 1: "a", 2: "b", 0: "tie" };

export function startVoting() {
  document.addEventListener("keydown", (event) => {
    const name = KEYS[event.key];
    // A digit that is being written is none that chooses.
    if (!name || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const open = [...document.querySelectorAll("[data-choice]")].at(-1);
    if (!open || by("chat").hidden) return;
    event.preventDefault();
    open.querySelector(`[data-vote="${name}"]`).click();
  });
}

// On a phone this would bring up the keyboard.
export function focus(place) {
  if (!matchMedia("(pointer: coarse)").matches) place.focus();
}

// `turns[at]` is what the conversation goes on from: the answer that was chosen, or the better one.
export function offer(turns, at, group, answers, prompt) {
  if (answers.some((answer) => answer.stopped)) {
    group.after(say("stopped", "p", { class: "note" }));
    return;
  }
  // Who reads while it is written has begun to read with the first words.
  const since = Math.max(...answers.map((answer) => answer.since));
  const given = (kind, name, more = {}) => ({ kind, prompt, vote: name, ...more,
    answers: answers.map((answer) => ({ text: answer.text, model: answer.as, ended: answer.reason === "stop" })),
    seconds: Math.round((performance.now() - since) / 100) / 10 });
  const goOn = (content) => { turns[at] = { role: "assistant", content }; };
  if (answers.length === 2) group.after(choice(answers, given, goOn));
  else answers[0].box.append(...judgement(answers[0], given, goOn));
}

function choice(answers, given, goOn) {
  const row = element("div", { class: "votes", "data-choice": true, role: "group", tabindex: "-1", "data-label": "better",
    "aria-label": text("better") }, say("better"));
  const chosen = (name) => {
    const status = element("span", { role: "status" });
    row.replaceChildren(status);
    delete row.dataset.choice;
    answers.forEach((answer, at) => { answer.who.textContent = `${at + 1} · ${answer.model}`; });
    const best = name === "b" ? answers[1] : answers[0];
    if (name !== "tie") best.box.classList.add("chosen");
    goOn(best.text);
    vote(given("choice", name), status);
    focus(by("question"));
  };
  row.append(...["a", "b", "tie"].map((name) => say(name, "button", { type: "button", "data-vote": name, onclick: () => chosen(name) })));
  return row;
}

function judgement(answer, given, goOn) {
  const row = element("div", { class: "votes" }), status = element("span", { role: "status" });
  const thumbs = ["up", "down"].map((name) => say(name, "button", { type: "button", class: "thumb", "data-vote": name,
    "aria-pressed": "false", onclick: (event) => {
      thumbs.forEach((each) => { each.disabled = true; });
      event.currentTarget.setAttribute("aria-pressed", "true");
      vote(given("thumb", name), status);
    } }));
  const edit = say("edit", "button", { type: "button", "data-edit": true, onclick: () => {
    edit.disabled = true;
    row.after(editor(answer.text, () => { edit.disabled = false; edit.focus(); }, (better) => {
      thumbs.forEach((each) => { each.disabled = true; });
      answer.box.querySelector(".text").textContent = better;
      goOn(better);
      vote(given("edit", "edited", { better }), status);
    }));
    by("better").focus();
  } });
  row.append(...thumbs, edit, status);
  return [row];
}

function editor(before, cancelled, saved) {
  document.getElementById("better")?.closest("form").querySelector("[data-cancel]").click(); // one at a time
  const field = element("textarea", { id: "better", rows: "5", "data-label": "edit", "aria-label": text("edit") });
  field.value = before;
  const close = () => { form.remove(); cancelled(); };
  const form = element("form", { onsubmit: (event) => {
    event.preventDefault();
    const better = field.value.trim();
    if (!better || better === before.trim()) { field.focus(); return; }
    form.remove();
    saved(better);
    focus(by("question"));
  }, onkeydown: (event) => { if (event.key === "Escape") close(); } }, field, element("div", { class: "votes" },
    say("save", "button", { type: "submit", class: "main", "data-save": true }),
    say("cancel", "button", { type: "button", "data-cancel": true, onclick: close })));
  return form;
}
