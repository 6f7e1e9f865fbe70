// The token in the browser: a tab keeps it, once it was right, for the pages of this project.
// Given: held (what the server hears and says), act, cb_obj.
const kept = "lattice-token " + held.project, offered = "lattice-offer " + held.project
const spare = (window.latticeHeld ??= {})  // where the browser keeps nothing for tabs

function get(name) {
  try { return sessionStorage.getItem(name) } catch { return spare[name] ?? null }
}

function set(name, value) {
  try {
    if (value === null) { sessionStorage.removeItem(name) } else { sessionStorage.setItem(name, value) }
  } catch { spare[name] = value }
}

function offer() {
  held.given = get(offered) ?? get(kept) ?? " "
}

switch (act) {
  case "asked": offer(); break
  case "typed":
    if (cb_obj.value) { window.latticeTyped = cb_obj.value }
    break
  case "verdict": {
    const good = held.verdict.startsWith("good"), typed = window.latticeTyped
    if (good) {
      const value = typed ?? get(offered)
      if (value) { set(kept, value.trim()) }
      set(offered, null)
      window.latticeTyped = undefined
    } else if (!typed) {
      if (get(offered) !== null) {  // a link's was wrong: the one before may be right
        set(offered, null)
        if (get(kept) !== null) { offer() }
      } else { set(kept, null) }
    }
  }
}
