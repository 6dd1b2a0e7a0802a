// A conversation: answers as they come, one or two at a time.
import { alertOf, streamed } from "./server.js";
import { focus, offer } from "./voting.js";
import { by, element, fillModels, page, say, sayIn } from "./words.js";

const TOKENS = 128, TEMPERATURE = 0.7;
let turns = []; // messages that count, as the model is told them
let stopping = null;

export const answerTokens = () => Math.max(1, Math.round(Number(by("length").value) || TOKENS));

export function onEnter(field, run) {
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); run(); }
  });
}

export function startChat() {
  fillModels(by("model"), page.models);
  by("model").value = page.chosen;
  fillModels(by("second"), page.models, "same");
  by("second").value = page.beside;
  by("length").value = TOKENS;
  by("temperature").value = TEMPERATURE;
  by("composer").addEventListener("submit", (event) => { event.preventDefault(); converse(); });
  onEnter(by("question"), converse);
  by("new").addEventListener("click", forget);
  by("stop").addEventListener("click", () => stopping?.abort());
  by("two").addEventListener("change", () => { by("second-row").hidden = !by("two").checked; });
  by("template").addEventListener("change", showTemplate);
  showTemplate();
}

function showTemplate() {
  const kind = by("template").value;
  by("examples-row").hidden = kind !== "few";
  by("system-row").hidden = kind !== "system";
  sayIn(by("template-name"), kind);
}

function forget() {
  stopping?.abort();
  working(null);
  turns = [];
  by("turns").replaceChildren();
  focus(by("question"));
}

function working(controller) {
  stopping = controller;
  by("send").hidden = controller !== null;
  by("stop").hidden = controller === null;
}

// Messages before the conversation, by the chosen template.
function beginning() {
  const kind = by("template").value, system = by("system").value.trim();
  if (kind === "system") return system ? [{ role: "system", content: system }] : [];
  if (kind !== "few") return [];
  return by("examples").value.split(/\n\s*\n/).flatMap((example) => {
    const [question, ...answer] = example.trim().split("\n");
    return question && answer.length ? [{ role: "user", content: question }, { role: "assistant", content: answer.join("\n") }] : [];
  });
}

function asked() {
  const names = [by("model").value];
  if (by("two").checked) names.push(by("second").value || by("model").value);
  // Which stands first must not tell which model it is.
  return names.length > 1 && Math.random() < 0.5 ? names.reverse() : names;
}

async function converse() {
  const field = by("question"), question = field.value.trim(), own = turns;
  if (!question || stopping) return;
  field.value = "";
  const prompt = [...beginning(), ...own, { role: "user", content: question }];
  const answers = asked().map((model, at, all) => {
    const who = element("p", { class: "who" }, all.length > 1 ? String(at + 1) : "");
    return { model, who, text: "", as: "", reason: null, since: null, stopped: false, box: element("div", { class: "answer" }, who) };
  });
  const group = element("div", { class: "answers", "aria-busy": "true" }, ...answers.map((answer) => answer.box));
  by("turns").append(element("div", { class: "turn" }, say("you", "p", { class: "who" }), element("p", { class: "text question" }, question)),
    element("div", { class: "turn" }, group));
  const controller = new AbortController();
  working(controller);
  group.scrollIntoView({ block: "nearest" });
  await Promise.all(answers.map((answer) => write(answer, prompt, controller.signal)));
  group.removeAttribute("aria-busy");
  if (turns !== own) return; // a new conversation was begun meanwhile
  working(null);
  const whole = answers.filter((answer) => answer.text.trim());
  if (!whole.length) { field.value ||= question; return; }
  own.push(prompt.at(-1), { role: "assistant", content: whole[0].text });
  offer(own, own.length - 1, group, whole, prompt);
  const row = group.parentElement.querySelector("[data-choice]");
  group.parentElement.scrollIntoView({ block: "nearest" });
  if ([document.body, field].includes(document.activeElement) && !field.value) focus(row ?? field);
}

async function write(answer, prompt, signal) {
  const shown = element("p", { class: "text" });
  answer.box.append(shown);
  const body = { model: answer.model, messages: prompt, temperature: Number(by("temperature").value), max_tokens: answerTokens() };
  try {
    for await (const part of streamed(body, signal)) {
      answer.since ??= performance.now();
      answer.text += part.text;
      Object.assign(answer, { as: part.as, reason: part.reason });
      shown.textContent = answer.text;
    }
    answer.stopped = signal.aborted && answer.reason === null;
    if (answer.reason === "length") answer.box.append(say("cut", "p", { class: "note" }));
    if (!answer.text.trim() && !answer.stopped) answer.box.append(say("empty", "p", { class: "note" }));
  } catch (error) {
    answer.text = ""; // half an answer is no turn
    answer.box.append(alertOf(error));
  }
}
