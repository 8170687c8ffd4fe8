// The form: only what goes together, the price as it changes, one video a click.

import { announce, post } from "./net.js";
import { restore, sent, unsent, values } from "./draft.js";
import { present } from "./jobs.js";
import { pictures } from "./pictures.js";

const form = document.getElementById("composer");
const matrix = form && JSON.parse(form.dataset.matrix);
const field = (id) => document.getElementById(id);
const radios = (name) => [...form.querySelectorAll(`input[type=radio][name="${name}"]`)];
const chosen = (name) => form.elements[name]?.value ?? "";
let asking = null; // the price that is being asked for
let waiting = 0;
let priced = Promise.resolve(); // the last question for a price
let sending = false;

/** Bring the form to life. */
export function composer() {
  fit([]);
  const lost = restore();
  pictures(changed);
  prompts();
  seed();
  form.addEventListener("change", (event) => {
    if (event.target.matches(".frame-file, [name=prompt], [name=enhanced]")) return;
    changed();
  });
  form.addEventListener("input", (event) => {
    told(event.target.name, "");
    if (event.target.matches("[data-guided]")) changed();
  });
  // What is scrolled to stops above the button, however much is said there.
  new ResizeObserver(([order]) => {
    document.documentElement.style.setProperty("--order", `${order.target.offsetHeight}px`);
  }).observe(field("order"));
  // Of a field with words the browser brings only the caret in sight.
  form.addEventListener("focusin", (event) => {
    if (event.target.matches("textarea")) event.target.scrollIntoView({ block: "nearest" });
  });
  form.addEventListener("submit", submit);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(field("go"));
    }
  });
  document.addEventListener("balance", ask);
  document.addEventListener("back", ask);
  document.addEventListener("leaving", () => sending && unsent());
  // The browser may fill fields in again when a page is loaded, and bring one back as it was.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) form.elements.key.value = crypto.getRandomValues(new Uint32Array(5)).join("-");
    settle();
  });
  settle();
  if (lost) problems({ "": `${ended()}; nothing was sent. Press Generate again.` }, "", true);
}

const ended = () => (form.dataset.free === undefined ? "Your sign-in had ended" : "The studio was started again");

function settle() {
  fit([]);
  changed();
}

// What goes together

function changed() {
  const notes = [];
  fit(notes);
  note(notes.join(" "));
  clearTimeout(waiting);
  waiting = setTimeout(ask, 120);
}

/** The price of the form as it is now, once it is there. */
function price() {
  if (waiting) ask();
  return priced;
}

function note(words) {
  const place = field("snap");
  place.textContent = words;
  place.hidden = !words;
}

function fit(notes) {
  const modes = matrix[chosen("model")];
  limit("mode", Object.keys(modes), (_, allowed) => allowed[0], notes, () => "The mode is another now: this model does not have it.");
  const mode = modes[chosen("mode")];
  limit("resolution", Object.keys(mode.resolutions), nearest, notes, (was, now) => `${was} is not in ${mode.label}: it is ${now} now.`);
  const size = mode.resolutions[chosen("resolution")];
  for (const each of radios("resolution")) {
    const rate = each.parentElement.querySelector("[data-rate]");
    const row = mode.resolutions[each.value];
    if (rate) rate.textContent = row ? `${row.rate}/s` : "";
  }
  limit("fps", Object.keys(size.durations), nearest, notes, (was, now) => `${was} fps is not offered here: it is ${now} now.`);
  limit("aspect_ratio", size.shapes, (_, allowed) => allowed[0], notes, (was) => `${was} is not in ${mode.label}: the shape is automatic now.`);
  const lengths = (size.durations[chosen("fps")] ?? []).map(String);
  limit("duration", lengths, nearest, notes, (was, now) => `${was} s is not in ${mode.label} at ${chosen("resolution")}: it is ${now} s now.`);
  limit("camera_motion", mode.cameras, () => "none", notes, (was) => `${title(was)} is not in ${mode.label}: no camera move is chosen now.`);
  for (const each of form.querySelectorAll("[role=switch]")) {
    const able = mode.switches[each.name];
    if (!able && each.checked) notes.push(`${each.parentElement.querySelector("b").textContent} is not in ${mode.label}: it is off now.`);
    if (!able) each.checked = false;
    each.disabled = !able;
  }
  for (const each of form.querySelectorAll("[data-guided]")) each.disabled = !mode.guidance;
  const steps = field("f-num_inference_steps");
  if (steps) steps.placeholder = mode.steps;
  for (const [name, able] of [["image", mode.pictures], ["last_image", mode.last_frame]]) {
    const frame = form.querySelector(`[data-frame="${name}"]`);
    if (frame) frame.querySelector(".frame-file").disabled = !able;
  }
}

function limit(name, allowed, instead, notes, words) {
  const all = radios(name);
  if (!all.length) return;
  for (const each of all) each.disabled = !allowed.includes(each.value);
  const now = all.find((each) => each.checked);
  if (now && !now.disabled) return;
  const next = all.find((each) => each.value === instead(now?.value, allowed)) ?? all.find((each) => !each.disabled);
  next.checked = true;
  if (now) notes.push(words(now.value, next.value));
}

/** The largest that is not above; of names that are no numbers, the last before it. */
function nearest(value, allowed) {
  const size = Number.parseFloat(value);
  return allowed.filter((each) => Number.parseFloat(each) <= size).at(-1) ?? allowed[0];
}

const title = (camera) =>
  form.querySelector(`input[name=camera_motion][value="${camera}"] + .camera-face > span`).textContent;

// What it costs

function plain() {
  const data = new FormData(form);
  for (const name of ["image_file", "last_image_file", "enhanced"]) data.delete(name);
  return data;
}

function ask() {
  clearTimeout(waiting);
  waiting = 0;
  priced = answered();
  return priced;
}

async function answered() {
  asking?.abort();
  const mine = (asking = new AbortController());
  let answer;
  try {
    answer = await post("/studio/quote", plain(), mine.signal);
  } catch {
    return; // a newer question is on its way
  }
  if (answer.status !== 200 || mine !== asking) return;
  const { label, credits, after, makes, enough, notes, problems } = answer.body;
  if (sending) field("go").dataset.label = label;
  else field("go-label").textContent = label;
  form.elements.quoted.value = credits ?? "";
  field("after").textContent = after;
  field("after").classList.toggle("short", !enough);
  field("makes").textContent = makes;
  field("notes").textContent = notes.join(" ");
  field("notes").hidden = !notes.length;
  for (const place of form.querySelectorAll("[data-problem]")) {
    const name = place.dataset.problem;
    // What a frame says of the picture that it refused stays until there is another.
    const frame = place.closest(".frame");
    if (name === "prompt" || (frame && (frame.classList.contains("busy") || !problems[name]))) continue;
    told(name, problems[name] ?? "");
  }
}

// Sending

async function submit(event) {
  const by = event.submitter;
  if (by?.hasAttribute("formaction")) return; // those have listeners of their own
  event.preventDefault();
  if (sending) return;
  if (form.querySelector(".busy")) return announce("Wait until the picture is there.");
  working(true);
  const seen = form.elements.quoted.value;
  await price();
  const now = form.elements.quoted.value;
  if (form.dataset.free === undefined && now && now !== seen) {
    working(false);
    return note("With these settings the price is another: see the button, and press it again.");
  }
  const asked = values(); // what is written while it is sent is the next one's
  const { status, body } = await post("/", plain());
  working(false);
  if (body.key) form.elements.key.value = body.key;
  if (status === 202) {
    sent(asked);
    problems({});
    await present(body.id);
    ask();
  } else {
    problems(body.problems ?? { "": body.message }, body.problems && body.request, body.asks);
    ask();
  }
}

function working(on) {
  sending = on;
  const button = field("go");
  if (on) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
  button.dataset.label ??= "";
  if (on) button.dataset.label = field("go-label").textContent;
  field("go-label").textContent = on ? "Sending…" : button.dataset.label;
}

function told(name, words) {
  if (!name) return;
  const place = form.querySelector(`[data-problem="${name}"]`);
  if (!place) return;
  if (place.textContent !== words) place.textContent = words;
  place.hidden = !words;
  const owner = field(`f-${name}`);
  if (!owner) return;
  if (words) owner.setAttribute("aria-invalid", "true");
  else owner.removeAttribute("aria-invalid");
}

function problems(found, request = "", asks = false) {
  const names = Object.keys(found);
  for (const place of form.querySelectorAll("[data-problem]")) told(place.dataset.problem, found[place.dataset.problem] ?? "");
  const summary = field("summary");
  summary.hidden = !names.length;
  summary.classList.toggle("asks", asks);
  if (!names.length) return;
  const only = names.length === 1 && names[0] === "";
  summary.querySelector(".alert-title").textContent = only ? found[""] : "This needs another look";
  const named = summary.querySelector("[data-request]");
  named.textContent = request;
  named.hidden = !request;
  summary.querySelector("ul").replaceChildren(...(only ? [] : names.map((name) => line(name, found[name]))));
  for (const name of names) form.querySelector(`[data-problem="${name}"]`)?.closest("details")?.setAttribute("open", "");
  summary.focus();
}

function line(name, words) {
  const item = document.createElement("li");
  const place = name && field(`f-${name}`);
  if (!place) {
    item.textContent = words;
    return item;
  }
  const link = document.createElement("a");
  link.href = `#f-${name}`;
  link.textContent = words;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    place.focus();
  });
  item.append(link);
  return item;
}

// Prompt and seed

function prompts() {
  const prompt = field("f-prompt");
  const put = (words) => {
    prompt.value = words;
    told("prompt", "");
    prompt.focus();
  };
  field("examples").addEventListener("click", (event) => {
    const example = event.target.closest("[data-example]");
    if (!example) return;
    event.preventDefault();
    put(example.dataset.example);
  });
  const enhance = field("enhance");
  if (!enhance) return;
  let before = field("undo").value;
  enhance.addEventListener("click", async (event) => {
    event.preventDefault();
    if (enhance.getAttribute("aria-busy")) return;
    if (!prompt.value.trim()) {
      told("prompt", "Write a few words first.");
      return prompt.focus();
    }
    enhance.setAttribute("aria-busy", "true");
    announce("Writing a richer prompt.");
    const { status, body } = await post("/studio/enhance", plain());
    enhance.removeAttribute("aria-busy");
    if (status !== 200) {
      told("prompt", body.message);
      return announce(body.message);
    }
    field("f-enhanced").value = body.prompt;
    field("enhanced").hidden = false;
    field("f-enhanced").focus();
  });
  field("take-enhanced").addEventListener("click", (event) => {
    event.preventDefault();
    before = prompt.value;
    put(field("f-enhanced").value);
    field("enhanced").hidden = true;
    field("undo-line").hidden = false;
    announce("Prompt replaced.");
  });
  field("leave-enhanced").addEventListener("click", (event) => {
    event.preventDefault();
    field("enhanced").hidden = true;
    prompt.focus();
  });
  field("undo").addEventListener("click", (event) => {
    event.preventDefault();
    put(before);
    field("undo-line").hidden = true;
    announce("Your prompt is back.");
  });
}

function seed() {
  const input = field("f-seed");
  const lock = field("lock");
  const sync = () => {
    const kept = input.value.trim() !== "";
    lock.setAttribute("aria-pressed", String(kept));
  };
  const draw = () => {
    input.value = crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
    sync();
    announce(`Seed ${input.value}`);
  };
  field("dice").addEventListener("click", draw);
  lock.addEventListener("click", () => {
    if (input.value.trim() === "") return draw();
    input.value = "";
    sync();
    announce("A new seed each time.");
  });
  input.addEventListener("input", sync);
  window.addEventListener("pageshow", sync);
  sync();
}
