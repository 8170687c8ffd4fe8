// Everything here is a nicety: the pages work without it.

import { announce, complain, post } from "./net.js";
import { composer } from "./composer.js";
import { forget } from "./draft.js";
import { watch } from "./jobs.js";

document.documentElement.classList.add("js");

if (document.getElementById("composer")) composer();
watch();

// Theme: at once, and remembered.
const themes = document.querySelector("[data-themes]");
themes.addEventListener("submit", async (event) => {
  event.preventDefault();
  const theme = event.submitter.value;
  document.documentElement.dataset.theme = theme;
  document.querySelector("meta[name=color-scheme]").content = theme === "system" ? "light dark" : theme;
  for (const each of themes.querySelectorAll("button")) each.setAttribute("aria-pressed", String(each.value === theme));
  const data = new FormData();
  data.set("theme", theme);
  await post(themes.action, data);
});

// The menu closes as menus do.
const menu = document.querySelector(".menu");
document.addEventListener("click", (event) => {
  if (menu.open && !menu.contains(event.target)) menu.open = false;
});
menu.addEventListener("focusout", (event) => {
  if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && menu.open) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-favourite]")) return;
  event.preventDefault();
  const { status, body } = await post(form.action, new FormData(form));
  if (status !== 200) return complain(body.message);
  form.elements.on.value = String(!body.favourite);
  form.querySelector("button").setAttribute("aria-pressed", String(body.favourite));
  announce(body.favourite ? "Marked as a favourite." : "No favourite any more.");
});

document.querySelector("form[action='/sign-out']")?.addEventListener("submit", forget);

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  try {
    await navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent);
    announce("Copied.");
    copy.classList.add("copied");
    setTimeout(() => copy.classList.remove("copied"), 1500);
  } catch {
    getSelection().selectAllChildren(document.getElementById(copy.dataset.copy));
    announce("Selected: copy it with the keyboard.");
  }
});
