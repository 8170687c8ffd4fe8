// First and last frame: chosen, dropped or pasted; sent at once, shown at once.

import { announce, post } from "./net.js";

const form = document.getElementById("composer");

/** Make every frame of the form take pictures. */
export function pictures(changed) {
  const frames = [...form.querySelectorAll("[data-frame]")];
  for (const frame of frames) {
    const input = frame.querySelector(".frame-file");
    const sent = () => {
      const [file] = input.files;
      input.value = ""; // it is sent by itself, not with the form
      if (file) take(frame, file, changed);
    };
    input.addEventListener("change", sent);
    const kept = value(frame).value;
    if (kept.startsWith(UPLOAD)) show(frame, `/studio/uploads/${encodeURIComponent(kept.slice(UPLOAD.length))}`);
    if (input.files.length) sent(); // chosen before the script was there
    for (const kind of ["dragover", "dragenter"]) {
      frame.addEventListener(kind, (event) => {
        event.preventDefault();
        frame.classList.add("over");
      });
    }
    frame.addEventListener("dragleave", () => frame.classList.remove("over"));
    frame.addEventListener("drop", (event) => {
      event.preventDefault();
      frame.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) take(frame, file, changed);
    });
    frame.querySelector("[name=remove]").addEventListener("click", (event) => {
      event.preventDefault();
      complain(frame, "");
      turns.delete(frame);
      empty(frame);
      input.focus();
      announce("Picture removed.");
      changed();
    });
  }
  // A picture that misses its frame must not replace the page.
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    const frame = frames.find((each) => !value(each).value && !each.querySelector(".frame-file").disabled);
    if (!file || !frame) return;
    event.preventDefault();
    take(frame, file, changed);
  });
}

const UPLOAD = "upload://";
const turns = new Map(); // frame to the upload that counts: the last one that was begun
const value = (frame) => frame.querySelector("input[type=hidden]");

async function take(frame, file, changed) {
  complain(frame, "");
  if (!form.dataset.types.split(",").includes(file.type)) {
    return complain(frame, "This is no PNG, JPEG or WEBP picture.");
  }
  if (file.size > Number(form.dataset.maxBytes)) {
    return complain(frame, `This picture is larger than ${form.dataset.maxWords}.`);
  }
  const turn = {};
  turns.set(frame, turn);
  const held = frame.contains(document.activeElement);
  show(frame, URL.createObjectURL(file));
  if (held) frame.querySelector("[name=remove]").focus();
  frame.classList.add("busy");
  const data = new FormData();
  data.set("file", file);
  const { status, body } = await post("/studio/uploads", data);
  if (turns.get(frame) !== turn) return; // taken away or replaced meanwhile
  frame.classList.remove("busy");
  if (status !== 201) {
    const left = frame.contains(document.activeElement);
    empty(frame);
    if (left) frame.querySelector(".frame-file").focus();
    return complain(frame, body.message);
  }
  value(frame).value = body.uri;
  announce(`Picture added, ${body.width} by ${body.height}.`);
  changed();
}

function show(frame, address) {
  frame.querySelector("img").src = address;
  frame.querySelector(".frame-empty").hidden = true;
  frame.querySelector(".frame-full").hidden = false;
}

function empty(frame) {
  const picture = frame.querySelector("img");
  if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
  value(frame).value = "";
  frame.classList.remove("busy");
  frame.querySelector(".frame-empty").hidden = false;
  frame.querySelector(".frame-full").hidden = true;
}

function complain(frame, words) {
  const place = frame.querySelector("[data-problem]");
  place.textContent = words;
  place.hidden = !words;
  if (words) announce(words);
}
