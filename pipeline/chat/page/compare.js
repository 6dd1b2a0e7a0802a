// One prompt to every model, in columns: what was pretrained first, what was aligned last.
import { answerTokens, onEnter } from "./chat.js";
import { alertOf, streamed } from "./server.js";
import { by, element, knows, page, say } from "./words.js";

let stopping = null;

export function startCompare() {
  by("compare-form").addEventListener("submit", (event) => { event.preventDefault(); compare(); });
  onEnter(by("compare-question"), compare);
}

async function compare() {
  const question = by("compare-question").value.trim();
  if (!question) return;
  stopping?.abort();
  const { signal } = stopping = new AbortController();
  const columns = page.models.toReversed().map((model) => {
    const shown = element("p", { class: "text" }), kind = `stage.${model.stage}`;
    const column = element("div", { class: "answer", "data-model": model.name }, element("h2", {}, model.name),
      knows(kind) ? say(kind, "p", { class: "hint" }) : null, shown);
    return { model, shown, column };
  });
  by("columns").replaceChildren(...columns.map(({ column }) => column));
  await Promise.all(columns.map(async ({ model, shown, column }) => {
    const body = { model: model.name, messages: [{ role: "user", content: question }], temperature: 0, max_tokens: answerTokens() };
    try {
      for await (const part of streamed(body, signal)) shown.textContent += part.text;
      if (!shown.textContent.trim()) column.append(say("empty", "p", { class: "note" }));
    } catch (error) {
      column.append(alertOf(error));
    }
    column.dataset.done = "true";
  }));
}
