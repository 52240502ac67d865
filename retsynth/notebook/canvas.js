// A plain 2D canvas: white vessels on black, 512 x 512. Its PNG becomes the component's value each time the pen is lifted.
const canvas = element.querySelector("canvas"), nib = element.querySelector(".nib");
const paper = canvas.getContext("2d", { willReadFrequently: true });
const width = element.querySelector("input[type=range]"), taper = element.querySelector("input[type=checkbox]");
const SIZE = 512, KEEP = 40, STORE = "retsynth-drawing";
let sent = null, undone = [], done = [], stroke = null, pen = null;

const snapshot = () => paper.getImageData(0, 0, SIZE, SIZE);
const remember = () => { done.push(snapshot()); if (done.length > KEEP) done.shift(); undone = []; };
const blank = () => { paper.fillStyle = "black"; paper.fillRect(0, 0, SIZE, SIZE); };

// An empty sheet shows where an eye has its disc and its macula; a pen that is moved by keys tells whether it is down.
const empty = () => !paper.getImageData(0, 0, SIZE, SIZE).data.some((value, i) => value && i % 4 < 3);
function told(byKeys = false) {
  canvas.dataset.blank = !stroke && empty();
  nib.classList.toggle("down", byKeys && Boolean(stroke));
  if (byKeys) element.querySelector(".pen-state").textContent = stroke ? "Pen down" : "Pen up";
}

function keep() {
  told();
  try { sessionStorage.setItem(STORE, canvas.toDataURL("image/png")); } catch { /* private window: the drawing just does not outlive a reload */ }
}

function send() {
  keep();
  sent = props.value = canvas.toDataURL("image/png");
}

function show(url) {  // a map from the server, or the drawing as it was before the tab was left
  const picture = new Image();
  picture.onload = () => { remember(); paper.drawImage(picture, 0, 0, SIZE, SIZE); keep(); canvas.dataset.ready = "true"; };
  sent = picture.src = url;
  hold("pen");
}

function hold(name) {  // a tool; a new sheet is not to be erased
  element.querySelectorAll("[data-tool]").forEach((tool) => tool.setAttribute("aria-pressed", tool.dataset.tool === name));
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width * SIZE, y: (event.clientY - box.top) / box.height * SIZE };
}

// Vessels taper: a stroke thins along its way, a quick hand thins it more, and a pen's pressure overrides both.
function calibre(event, distance) {
  const base = Number(width.value);
  if (event.pointerType === "pen" && event.pressure > 0) return base * (0.3 + 1.2 * event.pressure);
  if (!taper.checked || stroke.erase) return base;
  const speed = distance / Math.max(1, event.timeStamp - stroke.time);
  return Math.max(1, base * (0.35 + 0.65 * Math.exp(-stroke.length / 260)) * Math.min(1, 1.25 - 0.2 * speed));
}

function begin(event) {
  remember();
  const at = place(event), erase = element.querySelector("[data-tool=eraser]").getAttribute("aria-pressed") === "true";
  stroke = { pointer: event.pointerId, at, mid: at, time: event.timeStamp, length: 0, erase, width: Number(width.value) * (erase ? 2 : 1) };
  paper.strokeStyle = paper.fillStyle = erase ? "black" : "white";
  paper.lineCap = paper.lineJoin = "round";
  paper.beginPath();
  paper.arc(at.x, at.y, stroke.width / 2, 0, 7);
  paper.fill();
  told();
}

function extend(event) {
  const at = place(event), distance = Math.hypot(at.x - stroke.at.x, at.y - stroke.at.y);
  if (distance < 1) return;
  const mid = { x: (at.x + stroke.at.x) / 2, y: (at.y + stroke.at.y) / 2 };
  stroke.length += distance;
  const wanted = calibre(event, distance) * (stroke.erase ? 2 : 1);
  stroke.width += (wanted - stroke.width) * 0.35;  // no jumps in width
  paper.lineWidth = stroke.width;
  paper.beginPath();
  paper.moveTo(stroke.mid.x, stroke.mid.y);
  paper.quadraticCurveTo(stroke.at.x, stroke.at.y, mid.x, mid.y);
  paper.stroke();
  Object.assign(stroke, { at, mid, time: event.timeStamp });
}

function end() {
  if (!stroke) return;
  paper.beginPath();
  paper.moveTo(stroke.mid.x, stroke.mid.y);
  paper.lineTo(stroke.at.x, stroke.at.y);
  paper.stroke();
  stroke = null;
  told();
  send();
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  if (stroke) {  // a second finger, or a palm: what the first one drew was not meant
    paper.putImageData(done.pop(), 0, 0);
    stroke = null;
    told();
    return;
  }
  canvas.setPointerCapture(event.pointerId);  // a stroke may leave the canvas
  begin(event);
});
canvas.addEventListener("pointermove", (event) => {
  const at = place(event), scale = canvas.clientWidth / SIZE;
  const size = Number(width.value) * (element.querySelector("[data-tool=eraser]").getAttribute("aria-pressed") === "true" ? 2 : 1) * scale;
  Object.assign(nib.style, { left: `${at.x * scale}px`, top: `${at.y * scale}px`, width: `${size}px`, height: `${size}px` });
  if (stroke?.pointer === event.pointerId) (event.getCoalescedEvents?.() ?? [event]).concat(event).forEach(extend);
});
for (const over of ["pointerup", "pointercancel"]) canvas.addEventListener(over, (event) => { if (stroke?.pointer === event.pointerId) end(); });

function step(from, to) {
  if (!from.length) return;
  to.push(snapshot());
  paper.putImageData(from.pop(), 0, 0);
  send();
}
const acts = {
  undo: () => step(done, undone),
  redo: () => step(undone, done),
  mirror() {
    remember();
    paper.save();
    paper.scale(-1, 1);
    paper.drawImage(canvas, -SIZE, 0);
    paper.restore();
    send();
  },
  blank() { remember(); blank(); hold("pen"); send(); },
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.act) acts[button.dataset.act]();
  if (button?.dataset.tool) hold(button.dataset.tool);
});
width.addEventListener("input", () => { element.querySelector("output").textContent = `${width.value} px`; });

element.addEventListener("keydown", (event) => {
  const act = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[event.key.toLowerCase()];
  if (!act || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  acts[act]();
});

// Without a pointer: the arrow keys move the pen, Space puts it down and lifts it.
function mark() {  // where the pen is
  const scale = canvas.clientWidth / SIZE;
  pen ??= { x: SIZE / 2, y: SIZE / 2 };
  Object.assign(nib.style, { left: `${pen.x * scale}px`, top: `${pen.y * scale}px`, width: `${width.value * scale}px`, height: `${width.value * scale}px` });
}
canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) mark(); });
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const box = canvas.getBoundingClientRect();
  const as = () => ({ clientX: box.left + pen.x / SIZE * box.width, clientY: box.top + pen.y / SIZE * box.height, timeStamp: event.timeStamp });
  mark();
  if (moves[event.key]) {
    const reach = event.shiftKey ? 24 : 6;
    pen.x = Math.min(SIZE, Math.max(0, pen.x + reach * moves[event.key][0]));
    pen.y = Math.min(SIZE, Math.max(0, pen.y + reach * moves[event.key][1]));
    if (stroke) extend(as());
  } else if (event.key === " ") {
    stroke ? end() : begin(as());
    told(true);
  } else return;
  event.preventDefault();
  mark();
});
canvas.addEventListener("blur", end);

// A map that is dropped or pasted on the sheet is as one that was chosen with the button.
function given(event, files) {
  const upload = element.closest(".cell").querySelector(".controls:has(> .given) input[type=file]");
  if (!files?.length || !upload) return;
  event.preventDefault();
  const chosen = new DataTransfer();
  chosen.items.add(files[0]);
  upload.files = chosen.files;
  upload.dispatchEvent(new Event("change", { bubbles: true }));
}
element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => given(event, event.dataTransfer.files));
element.addEventListener("paste", (event) => given(event, event.clipboardData.files));

blank();
told();
let kept = null;
try { kept = sessionStorage.getItem(STORE); } catch { /* see send */ }
if (props.value) show(props.value);
else if (kept) { show(kept); props.value = kept; }
else canvas.dataset.ready = "true";
watch("value", () => { if (props.value && props.value !== sent) show(props.value); });
