// Running videos: their progress, and what is put in their place when they end.

import { announce, away, complain, get, part, post } from "./net.js";

const QUICK = 1000; // milliseconds between two looks
const SLOW = 4000; // while nobody looks, or the studio does not answer
const board = document.getElementById("board");
const name = document.title; // of the board; a video's own page is called after its state
const said = new Map(); // id to the milestone that was last announced
let timer = 0;
let looking = false; // one look at a time
let failed = false; // the last one
let returned = false; // the studio answers again, and was not looked at since

const live = () => [...document.querySelectorAll("[data-job][data-live]")];

/** Look after every running video of the page, from now on. */
export function watch() {
  clearTimeout(timer);
  document.body.classList.toggle("rolling", live().length > 0);
  offerNotification();
  if (looking) return; // which ends here again
  if (live().length || away() || returned) timer = setTimeout(look, document.hidden || failed || away() ? SLOW : QUICK);
}

async function look() {
  if (looking) return;
  clearTimeout(timer);
  looking = failed = true;
  try {
    const ids = [...new Set(live().map((each) => each.dataset.job))];
    const { status, body } = await get(`/studio/jobs?${ids.map((id) => `id=${encodeURIComponent(id)}`).join("&")}`);
    failed = status !== 200;
    if (!failed) await seen(body);
    else for (const each of document.querySelectorAll("[data-live] [data-timing]")) each.textContent = "Reconnecting…";
  } finally {
    looking = false;
    watch();
  }
}

async function seen({ jobs, available, csrf }) {
  // A studio of one's own that was started again has another login for the same visitor.
  if (csrf) document.body.dataset.csrf = csrf;
  if (returned) {
    returned = false;
    document.dispatchEvent(new Event("back"));
  }
  showAvailable(available);
  const over = jobs.filter((job) => !job.live);
  for (const job of jobs) if (job.live) show(job);
  if (over.length) await ended(over);
}

// Where nothing runs, a call that failed is what begins to look.
document.addEventListener("away", watch);
// What is sent by those who hear "back" needs the login that the next look tells of.
document.addEventListener("heard", () => {
  returned = true;
  look();
});

/** The balance at the top; the form is told when it changes. */
export function showAvailable(words) {
  const place = document.getElementById("available");
  if (!place || place.textContent === words) return;
  place.textContent = words;
  document.dispatchEvent(new Event("balance"));
}

function show(job) {
  for (const root of live().filter((each) => each.dataset.job === job.id)) {
    root.dataset.version = job.version;
    put(root, "badge", job.badge);
    const lamp = root.querySelector("[data-tone]");
    if (lamp) lamp.className = `lamp tone-${job.tone}`;
    if (root.id === "now") showLine(root, job);
    if (root.id === "stage") showStage(root, job);
  }
}

function showLine(root, job) {
  put(root, "line", job.line);
  fill(root.querySelector("[data-thin]"), job.percent);
}

function fill(bar, percent) {
  if (percent === null) bar.removeAttribute("value");
  else bar.value = percent;
}

function showStage(root, job) {
  const percent = job.percent === null ? "" : `${job.percent}%`;
  put(root, "percent", percent);
  put(root, "headline", job.headline);
  put(root, "detail", job.detail);
  put(root, "timing", job.timing);
  put(root, "cancel-note", job.cancel_note);
  const cancel = root.querySelector("[data-cancel-button]");
  if (!job.can_cancel && cancel === document.activeElement) root.querySelector("#stage-title").focus();
  cancel.hidden = !job.can_cancel;
  const bar = root.querySelector("[data-progress]");
  fill(bar, job.percent);
  bar.setAttribute("aria-valuetext", `${percent} ${job.headline}`.trim());
  root.querySelectorAll("[data-phase]").forEach((each, number) => {
    each.className = job.phases[number] ?? "next";
  });
  document.title = `${percent ? `${percent} · ` : ""}${job.headline} · ltx2 studio`;
  const milestone = job.headline.replace(/ \d+\/\d+$/, "");
  if (said.get(job.id) !== milestone) {
    said.set(job.id, milestone);
    announce(milestone);
  }
}

function put(root, what, words) {
  const place = root.querySelector(`[data-${what}]`);
  if (place && place.textContent !== words) place.textContent = words;
}

async function ended(jobs) {
  const stage = document.getElementById("stage");
  const staged = stage && jobs.find((job) => job.id === stage.dataset.job);
  const library = document.getElementById("library");
  const line = document.getElementById("now"); // stays, for who is still at the form
  if (board) await renewBoard(stage?.dataset.job, Boolean(staged));
  else if (staged) await renewStage(staged);
  else if (library) await renewLibrary(library);
  for (const job of jobs) tell(job);
  // Once: a cancel and a look, or two looks, may tell of one end.
  if (line?.matches("[data-live]") && staged?.id === line.dataset.job) endLine(line, staged);
  if (staged) document.title = `${staged.headline ?? "Gone"} · ltx2 studio`;
  // What could not be renewed is not asked about for ever.
  for (const each of live()) if (jobs.some((job) => job.id === each.dataset.job)) delete each.dataset.live;
}

function endLine(line, job) {
  put(line, "line", job.headline ?? "Gone");
  line.querySelector("[data-tone]").className = `lamp tone-${job.tone}`;
  line.querySelector("[data-thin]").remove();
  delete line.dataset.live;
}

/** Show a video on the stage, and the rest around it as it is now. */
export async function renewBoard(id, withStage) {
  const page = await part(`/studio/board?stage=${encodeURIComponent(id ?? "")}`);
  if (!page) return;
  const parts = withStage ? ["board-stage", "board-queue", "board-recent"] : ["board-queue", "board-recent"];
  if (withStage && page.getElementById("now")) parts.push("board-now");
  for (const each of parts) swap(document.getElementById(each), page.getElementById(each));
}

async function renewStage(job) {
  const page = await part(job.gone ? location.href : `/studio/stage/${encodeURIComponent(job.id)}`);
  if (page) swap(document.getElementById("stage"), page.getElementById("stage"));
  else if (job.gone) location.assign("/library");
}

async function renewLibrary(library) {
  const page = await part(location.href);
  if (page) swap(library, page.getElementById("library"));
}

/** Put the new in the place of the old; who was inside keeps a place to be. */
function swap(old, fresh) {
  if (!old || !fresh) return;
  const held = old.contains(document.activeElement);
  old.replaceWith(fresh);
  if (held) (fresh.querySelector("#stage-title") ?? document.getElementById("main")).focus();
}

function tell(job) {
  if (job.gone) return;
  announce(job.detail ? `${job.headline}. ${job.detail}` : job.headline);
  if (document.hidden && "Notification" in window && Notification.permission === "granted") {
    const note = new Notification(`ltx2 studio: ${job.headline}`, { body: job.detail || "Your video is ready.", tag: job.id });
    note.onclick = () => {
      window.focus();
      location.assign(`/g/${encodeURIComponent(job.id)}`);
    };
  }
}

function offerNotification() {
  const button = document.querySelector("[data-notify]");
  if (button) button.hidden = !("Notification" in window) || Notification.permission !== "default";
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-notify]");
  if (!button) return;
  await Notification.requestPermission();
  button.hidden = true;
  announce(Notification.permission === "granted" ? "You will be told." : "Notifications are off.");
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.matches("[data-cancel]")) {
    event.preventDefault();
    const { status, body } = await post(form.action, new FormData(form));
    if (status !== 200) return complain(body.message);
    announce(`${body.headline}${body.live ? "" : "."} ${body.detail}`.trim());
    if (body.live) show(body);
    else await ended([body]);
    watch();
  } else if (form.matches("[data-vary]")) {
    event.preventDefault();
    if (form.dataset.busy) return;
    form.dataset.busy = "yes";
    const { status, body } = await post(form.action, new FormData(form));
    delete form.dataset.busy;
    if (status === 202) await present(body.id);
    else complain(body.message);
  }
});

/** A new video: on the stage of this page, else on its own. */
export async function present(id) {
  if (!board) {
    location.assign(`/g/${encodeURIComponent(id)}`);
    return;
  }
  await renewBoard(id, true);
  const title = document.getElementById("stage-title");
  title?.focus({ preventScroll: true });
  document.getElementById("stage")?.scrollIntoView({ block: "nearest" });
  watch();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && (live().length || away())) {
    look();
  } else if (!document.hidden && board) {
    document.title = name;
  }
});
