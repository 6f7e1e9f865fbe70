// The server does not answer any more: say so, and load the page again when one does that has the
// project. (Bokeh would join a new server's session with what the page had of the old one's.)
// Given: project, every (milliseconds).
if (window.latticeLost === undefined) {
  window.latticeLost = true
  const note = document.createElement("p")
  note.setAttribute("role", "alert")
  note.className = "lost"
  note.textContent = "Nothing is new on this page: its server does not answer. It is loaded again when that does."
  document.querySelector("main").prepend(note)
  const again = async () => {
    try {
      const answer = await fetch(location.href, {cache: "no-store"})
      if (answer.ok && (await answer.text()).includes("?project=" + project)) { location.reload(); return }
    } catch { /* not yet */ }
    setTimeout(again, every)
  }
  setTimeout(again, every / 4)
}
