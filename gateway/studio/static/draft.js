// The form as it was left: a reload, or a look at another page, does not empty it. It is kept for
// this tab and this account alone, and forgotten when a video was asked for or the visitor signs out.

const KEPT = `ltx2-draft ${document.body.dataset.account}`;
const UNSENT = `ltx2-unsent ${document.body.dataset.account}`; // there while a login ended what was being sent
// What each page has of its own, and files: their pictures are kept by address once they are sent.
const OWN = ["csrf", "key", "quoted", "enhanced", "image_file", "last_image_file"];
const form = document.getElementById("composer");
let begun = ""; // the form as the studio gave it

/** Put what was left in the place of a form that was not opened for other settings; then keep it
 *  up to date. Whether it was being sent when the page was left for another login. */
export function restore() {
  begun = values();
  const kept = read(KEPT);
  const lost = read(UNSENT) === location.search;
  write(UNSENT, null);
  // A page with settings of its own is only made what it was when it is loaded once more.
  if (kept && (form.dataset.fresh !== undefined || (kept.at === location.search && (lost || again())))) fill(kept.values);
  window.addEventListener("pagehide", keep);
  document.addEventListener("visibilitychange", () => document.hidden && keep());
  return lost;
}

/** The form could not be sent: the page is left for another login. */
export function unsent() {
  write(UNSENT, location.search);
}

/** The form was sent as it was when `asked` were its values; they are no draft any more. */
export function sent(asked) {
  begun = asked;
  write(KEPT, null);
}

/** Keep nothing from now on. */
export function forget() {
  write(KEPT, null);
  write(UNSENT, null);
  begun = form ? values() : "";
}

function keep() {
  const now = values();
  if (now !== begun) write(KEPT, { at: location.search, values: JSON.parse(now) });
  else if (form.dataset.fresh !== undefined) write(KEPT, null);
}

function again() {
  const [visit] = performance.getEntriesByType("navigation");
  return visit?.type === "reload" || visit?.type === "back_forward";
}

/** What the form says, in the order of its fields, so that equal forms are equal texts. */
export function values() {
  const found = {};
  for (const each of form.elements) {
    if (!each.name || OWN.includes(each.name) || each.matches("button, [type=file], fieldset")) continue;
    if (each.type === "checkbox") found[each.name] = each.checked;
    else if (each.type !== "radio") found[each.name] = each.value;
    else if (each.checked) found[each.name] = each.value;
  }
  return JSON.stringify(found);
}

function fill(kept) {
  for (const each of form.elements) {
    const value = kept[each.name];
    if (value === undefined || OWN.includes(each.name) || each.matches("button, [type=file], fieldset")) continue;
    if (each.type === "checkbox") each.checked = value === true;
    else if (each.type === "radio") each.checked = each.value === value || (each.checked && !offered(each.name, value));
    else each.value = value;
  }
  const advanced = document.getElementById("advanced");
  if (advanced && [...advanced.querySelectorAll("[data-guided]")].some((each) => each.value)) advanced.open = true;
}

/** Whether a choice is still there: a studio may have come back with another model. */
const offered = (name, value) => [...form.elements].some((each) => each.name === name && each.value === value);

function read(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name));
  } catch {
    return null; // a browser that keeps nothing
  }
}

function write(name, what) {
  try {
    if (what !== null) sessionStorage.setItem(name, JSON.stringify(what));
    else sessionStorage.removeItem(name);
  } catch {
    // a browser that keeps nothing
  }
}
