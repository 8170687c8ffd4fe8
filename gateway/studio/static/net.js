// Calls to the studio, and what is said to people who hear the page.

const announcer = document.getElementById("announcer");

/** Say it once, politely. */
export function announce(words) {
  announcer.textContent = "";
  requestAnimationFrame(() => {
    announcer.textContent = words;
  });
}

let quiet = 0;

/** Say it to everyone: what went wrong, where no field shows it. */
export function complain(words) {
  announce(words);
  announcer.classList.add("shown");
  clearTimeout(quiet);
  quiet = setTimeout(() => announcer.classList.remove("shown"), 8000);
}

// A studio that has ended, or cannot be reached: it is waited for, and people are told after a while.

const PATIENCE = 10_000; // milliseconds
const banner = document.getElementById("away");
let telling = 0;

/** Whether the last call got no answer. */
export const away = () => telling !== 0;

function unheard() {
  if (away()) return;
  telling = setTimeout(() => {
    banner.hidden = false;
    announce(banner.textContent.trim());
  }, PATIENCE);
  document.dispatchEvent(new Event("away"));
}

function heard() {
  if (!away()) return;
  clearTimeout(telling);
  telling = 0;
  if (!banner.hidden) announce("The studio is back.");
  banner.hidden = true;
  document.dispatchEvent(new Event("heard"));
}

async function call(address, options) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    unheard();
    return { status: 0, body: { message: "There is no connection to the studio. Try again." } };
  }
  if (answer.status === 401) {
    document.dispatchEvent(new Event("leaving"));
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
    return new Promise(() => {}); // the page is being left
  }
  if (answer.redirected) {
    location.assign(answer.url);
    return new Promise(() => {});
  }
  const json = (answer.headers.get("content-type") || "").includes("json");
  if (answer.status >= 502 && !json) unheard(); // a proxy speaks for a studio that is gone
  else heard();
  const body = json ? await answer.json() : { message: "Something went wrong. Try again." };
  if (answer.status >= 500) named(body, answer.headers.get("x-request-id"));
  return { status: answer.status, body };
}

/** What broke says its request, by which the operator finds it in the log. */
function named(body, request) {
  if (!request) return;
  body.request = `Request ${request}`;
  if (body.message) body.message = `${body.message} ${body.request}`;
}

/** Send form data; the answer is {status, body}, status 0 without a connection. */
export function post(address, data, signal) {
  data.set("csrf", document.body.dataset.csrf);
  return call(address, { method: "POST", body: data, signal, headers: { accept: "application/json" } });
}

/** Ask for JSON. */
export function get(address) {
  return call(address, { headers: { accept: "application/json" } });
}

/** A part of a page, as elements; null where it could not be had. */
export async function part(address) {
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return null;
  }
}
