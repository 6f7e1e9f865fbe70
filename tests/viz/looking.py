"""Looking at pages whose parts lie in shadow roots, as Bokeh's do: text, buttons, fields."""

from contextlib import contextmanager

_DEEP = """
window.deepAll = (selector, root = document) => {
  let found = [...root.querySelectorAll(selector)];
  for (const one of root.querySelectorAll('*'))
    if (one.shadowRoot) found = found.concat(deepAll(selector, one.shadowRoot));
  return found;
};
window.deepShown = (selector) => deepAll(selector).filter((one) => one.getClientRects().length);
window.deepText = (root = document.body) => {
  let text = '';
  for (const one of root.childNodes) {
    if (one.nodeType === 3) text += one.textContent;
    if (one.nodeType !== 1 || ['STYLE', 'SCRIPT', 'NOSCRIPT'].includes(one.tagName)) continue;
    if (one.shadowRoot && !one.getClientRects().length) continue;
    text += deepText(one) + (one.shadowRoot ? deepText(one.shadowRoot) : '') + ' ';
  }
  return text;
};
true
"""


class Looking:
    """A page of the browser with what a person sees of it."""

    def __init__(self, page):
        self.page = page
        self.ready()

    def ready(self):
        self.page.wait_for("document.readyState == 'complete'")
        self.page.evaluate(_DEEP)

    @property
    def text(self):
        """All that can be read."""
        return " ".join(self.page.evaluate("deepText()").split())

    def wait_text(self, *parts, timeout_s=30.0):
        """Wait until these can be read."""
        for part in parts:
            condition = f"deepText().replace(/\\s+/g, ' ').includes({part!r})"
            self.page.wait_for(condition, timeout_s=timeout_s)

    def click(self, javascript):
        """Click the middle of an element, when it is there."""
        self.page.wait_for(f"!!({javascript})")
        x, y = self.page.evaluate(
            f"(() => {{ const e = {javascript}; e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        self.page.click_at(x, y)

    def button(self, label, number=0):
        """Click a button."""
        self.click(f"deepShown('button').filter(b => b.textContent.trim() == {label!r})[{number}]")

    def agree(self, *question):
        """Read what is asked, and say yes."""
        self.wait_text(*question)
        self.button("Yes")

    def link(self, text):
        """Follow a link."""
        self.click(f"deepShown('a').filter(a => a.textContent.trim() == {text!r})[0]")

    def enter(self, selector, text):
        """Type into a field instead of what is in it, and press Enter."""
        self.click(f"deepShown({selector!r})[0]")
        self.page.evaluate(f"deepShown({selector!r})[0].select()")
        self.page.type_text(text)
        self.page.press("Enter")

    def count(self, selector):
        """How many elements there are."""
        return self.page.evaluate(f"deepAll({selector!r}).length")


@contextmanager
def looked_at(browser, url, **options):
    """A page that is looked at; nothing may be wrong in its console at the end."""
    with browser.open(url, **options) as page:
        yield Looking(page)
        assert page.errors == []
