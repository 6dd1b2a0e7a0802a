// What the server is asked, and what it says when something is wrong.
import { element, knows, page, say } from "./words.js";

const JSON_HEADERS = { "Content-Type": "application/json" };

export class Refused extends Error {
  // `words` names a text; where there is none, the message is shown as it came.
  constructor(message, words = null, values = {}) {
    super(message);
    Object.assign(this, { words, values });
  }
}

export const alertOf = (error) => error.words
  ? say(error.words, "p", { class: "error", role: "alert" }, error.values)
  : element("p", { class: "error", role: "alert" }, error.message);

export const post = (path, body, more = {}) => fetch(path, { method: "POST", headers: JSON_HEADERS, body, ...more });

const gone = () => new Refused("", "error.gone");

function refusal(told, model) {
  const words = `error.${told.error.code}`;
  const context = page.models.find((each) => each.name === model)?.context;
  return new Refused(told.error.message, knows(words) ? words : null, { context });
}

export async function ask(path, body) {
  let answer, found;
  try {
    answer = await post(path, JSON.stringify(body));
    found = await answer.json();
  } catch { throw gone(); }
  if (!answer.ok) throw refusal(found, body.model);
  return found;
}

// The parts of an answer as they come, the last one with its reason; none any more once it is aborted.
export async function* streamed(body, signal) {
  let ended = false;
  try {
    const answer = await post("api/answer", JSON.stringify(body), { signal });
    if (!answer.ok) throw refusal(await answer.json(), body.model);
    for await (const part of events(answer.body)) {
      if (part.error) throw refusal(part, body.model);
      ended ||= part.reason !== null;
      yield part;
    }
  } catch (error) {
    if (signal.aborted) return;
    throw error instanceof Refused ? error : gone();
  }
  if (!ended && !signal.aborted) throw gone();
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n\n");
    rest = whole.pop();
    for (const event of whole) yield JSON.parse(event.slice("data: ".length));
  }
}
