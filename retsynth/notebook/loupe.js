// The same 120 x 120 pixels of both images, one image pixel to one canvas pixel, shown twice as large and not smoothed.
const stage = element.querySelector(".stage"), lens = element.querySelector(".lens"), image = element.querySelector("img");
const [left, right] = element.querySelectorAll("canvas"), SIDE = 120;
const before = new Image();
let at = { x: 0.5, y: 0.42 };

function draw() {
  if (!image.naturalWidth) return;
  const width = image.naturalWidth, height = image.naturalHeight;
  const x = Math.round(Math.min(width - SIDE, Math.max(0, at.x * width - SIDE / 2)));
  const y = Math.round(Math.min(height - SIDE, Math.max(0, at.y * height - SIDE / 2)));
  for (const [canvas, source] of [[left, before], [right, image]]) {
    const pane = canvas.getContext("2d");
    pane.fillStyle = "black";
    pane.fillRect(0, 0, SIDE, SIDE);
    if (source.complete && source.naturalWidth) pane.drawImage(source, x, y, SIDE, SIDE, 0, 0, SIDE, SIDE);
  }
  const scale = image.clientWidth / width;
  Object.assign(lens.style, { left: `${image.offsetLeft + x * scale}px`, top: `${image.offsetTop + y * scale}px`, width: `${SIDE * scale}px`, height: `${SIDE * scale}px` });
}

function follow(event) {
  const box = image.getBoundingClientRect();
  at = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  draw();
}

stage.addEventListener("pointermove", follow);
stage.addEventListener("pointerdown", follow);
stage.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!move) return;
  event.preventDefault();
  at = { x: Math.min(1, Math.max(0, at.x + move[0] * 0.02)), y: Math.min(1, Math.max(0, at.y + move[1] * 0.02)) };
  draw();
});
image.addEventListener("load", draw);
new ResizeObserver(draw).observe(stage);  // another window, or a tab that comes into view
before.addEventListener("load", draw);
const load = () => { if (props.value?.before) before.src = props.value.before.url; };
watch("value", load);
load();
