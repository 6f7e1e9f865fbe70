// The map in the browser: it fits the picture into its frame, keeps cells in proportion, and tells
// the server what is in view and where the pointer is, but only now and then.
// Given: fig, eye (what the server hears), act (what a button wants), cb_obj.
const x = fig.x_range, y = fig.y_range
const state = (window.latticeMap ??= new WeakMap()).get(fig) ?? {}
window.latticeMap.set(fig, state)

function send() {
  clearTimeout(state.sending)
  state.sending = setTimeout(() => {
    const w = fig.inner_width, h = fig.inner_height
    if (w > 0 && h > 0) { eye.sight = [x.start, x.end, y.start, y.end, w, h] }
  }, 120)
}

function fit() {
  const w = fig.inner_width, h = fig.inner_height
  if (!(w > 0 && h > 0)) { return }
  const [width, height] = eye.extent
  let across = 1.03 * width / w, down = 1.03 * height / h
  if (!eye.strip) { across = down = Math.max(across, down) }
  const sx = across * w / 2, sy = down * h / 2
  const at = {x0: width / 2 - sx, x1: width / 2 + sx, y0: height / 2 - sy, y1: height / 2 + sy}
  x.setv({start: at.x0, end: at.x1})
  // y grows downwards, as rows of images do
  y.setv({start: at.y1, end: at.y0})
  state.fitted = [w, h]
  state.good = state.fit = now()
  send()
}

function keep() {
  // The frame has another size: the same middle, at the same scale, as far as that was chosen.
  const w = fig.inner_width, h = fig.inner_height
  const old = state.fitted
  if (!(w > 0 && h > 0)) { return }
  if (old === undefined || state.moved !== true) { fit(); return }
  const cx = (x.start + x.end) / 2, cy = (y.start + y.end) / 2
  const sx = (x.end - x.start) / 2 * w / old[0], sy = (y.start - y.end) / 2 * h / old[1]
  x.setv({start: cx - sx, end: cx + sx})
  y.setv({start: cy + sy, end: cy - sy})
  state.fitted = [w, h]
  state.good = now()
  send()
}

function point(px, py) {
  state.at = [px, py]
  if (state.pointing !== undefined) { return }
  state.pointing = setTimeout(() => {
    state.pointing = undefined
    const [a, b] = state.at
    const [cw, ch] = eye.cell
    const cell = a === null ? "" : Math.floor(a / cw) + " " + Math.floor(b / ch)
    if (cell !== state.cell) {
      state.cell = cell
      eye.pointer = a === null ? [] : [a, b]
    }
  }, 90)
}

function zoom(factor) {
  const cx = (x.start + x.end) / 2, cy = (y.start + y.end) / 2
  const sx = (x.end - x.start) / 2 * factor, sy = (y.start - y.end) / 2 * factor
  if (!eye.strip) { y.setv({start: cy + sy, end: cy - sy}) }
  x.setv({start: cx - sx, end: cx + sx})
  bound()
}

function now() { return [x.start, x.end, y.start, y.end] }

function bound() {
  // Neither less than a few cells nor much more than all is in view: else it stays as it was.
  const least = 4 * eye.cell[0], most = 8 * Math.max(eye.extent[0], eye.cell[0] * 4)
  const span = x.end - x.start
  if (state.good && (span < 0.999 * least && span < state.good[1] - state.good[0] || span > most)) {
    const [x0, x1, y0, y1] = state.good
    x.setv({start: x0, end: x1})
    y.setv({start: y0, end: y1})
    return
  }
  state.good = now()
  state.moved = state.fit === undefined || state.good.some((v, k) => Math.abs(v - state.fit[k]) > 1e-6 * span)
  send()
}

function soon() {
  // Ends of ranges change one after the other: look at them when all have.
  if (state.soon === undefined) {
    state.soon = setTimeout(() => { state.soon = undefined; bound() }, 0)
  }
}

switch (act || cb_obj.event_name) {
  case "in": zoom(1 / 1.6); break
  case "out": zoom(1.6); break
  case "grown":
    // Tiles have come before or behind: the same ones stay in view, or all of them.
    if (state.moved === true) {
      const [dx, dy] = eye.shift
      x.setv({start: x.start + dx, end: x.end + dx})
      y.setv({start: y.start + dy, end: y.end + dy})
      state.good = now()
      send()
    } else { fit() }
    break
  case "fit": state.moved = false; fit(); break
  case "range": soon(); break
  case "mousemove": point(cb_obj.x, cb_obj.y); break
  case "mouseleave": point(null, null); break
  default: keep()
}
