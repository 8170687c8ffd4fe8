"""A visitor with a keyboard and nothing else, who looks at every stop whether it can be seen."""

from playwright.sync_api import expect

MOST = 250  # stops; no page has as many

# What the browser would stop at, once each: of a group of radio buttons it is the chosen one.
STOPS = """
const parts = "a[href], button, input, textarea, select, summary, video[controls], [tabindex]";
const stops = () => [...document.querySelectorAll(parts)].filter((each) => {
    if (each.tabIndex < 0 || each.disabled || each.type === "hidden") return false;
    if (each.type === "radio" && !each.checked) return false;
    return each.checkVisibility({visibilityProperty: true});
});
const short = (each) => each.outerHTML.replace(/\\s+/g, " ").slice(0, 110);
"""
# What is wrong with the stop at which the focus is, in words; null where there is no stop.
LOOK = (
    "() => {"
    + STOPS
    + """
    const it = document.activeElement;
    if (it === document.body || it === null) return {stop: false, wrong: []};
    (window.reached ??= new Set()).add(it);
    const own = getComputedStyle(it);
    const unseen = own.opacity === "0" || own.clipPath === "inset(50%)";
    const face = (unseen && it.labels?.[0]) || it;
    const wrong = [];
    if (unseen && face === it) wrong.push("is invisible");
    const box = face.getClientRects()[0];
    const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, innerHeight)];
    const [left, right] = [Math.max(box.left, 0), Math.min(box.right, innerWidth)];
    if (bottom - top < 8 || right - left < 8) wrong.push("is out of the window");
    else if (box.height < innerHeight * 0.5 && (bottom - top < box.height - 1))
        wrong.push("is cut off by the window");
    else {
        // Along its middle; of what is large some part must be free.
        const points = [0.1, 0.5, 0.9].map((part) => top + (bottom - top) * part);
        const free = points.filter((y) => {
            const hit = document.elementFromPoint((left + right) / 2, y);
            return hit && (hit === it || face.contains(hit) || hit.contains(face));
        });
        const least = box.height < innerHeight * 0.3 ? points.length : 1;
        if (free.length < least) wrong.push("is covered");
    }
    const ring = (each) => {
        const {outlineStyle, outlineWidth, outlineColor} = getComputedStyle(each);
        const clear = /^rgba\\(.*, 0\\)$|transparent/.test(outlineColor);
        return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && !clear;
    };
    const near = [it, face, ...(unseen ? [it.nextElementSibling, ...face.children] : [])];
    const ringed = near.find((each) => each && ring(each) && (each !== it || !unseen));
    // The browser's own buttons inside of a player have the browser's own ring; a walk asks for the
    // player's, too.
    if (it.matches("video:not(:focus-visible)")) return {stop: true, wrong: []};
    if (!ringed) wrong.push("has no ring");
    else {
        (window.ringed ??= new Set()).add(it);
        const style = getComputedStyle(ringed);
        const beyond = parseFloat(style.outlineOffset) + parseFloat(style.outlineWidth);
        const at = ringed.getBoundingClientRect();
        for (let over = ringed.parentElement; over; over = over.parentElement) {
            const {overflowX, overflowY, position} = getComputedStyle(over);
            if (over === document.body) break;
            const edge = over.getBoundingClientRect();
            const sides = [];
            if (overflowX !== "visible") {
                sides.push(edge.left - (at.left - beyond), at.right + beyond - edge.right);
            }
            if (overflowY === "hidden" || overflowY === "clip") {
                sides.push(edge.top - (at.top - beyond), at.bottom + beyond - edge.bottom);
            }
            if (sides.some((each) => each > 1)) wrong.push("has a ring that is cut off");
        }
    }
    return {stop: true, wrong: wrong.map((each) => `${short(it)} ${each}`)};
}"""
)
UNREACHED = (
    "() => {"
    + STOPS
    + """
    const seen = (each) => (each.matches("video") ? window.ringed : window.reached)?.has(each);
    return stops().filter((each) => !seen(each)).map(short);
}"""
)


class Keyboard:
    """Presses keys on a page. At every stop the one that has the focus must be seen."""

    def __init__(self, page):
        self.page = page

    def press(self, key):
        self.page.keyboard.press(key)

    def type(self, words):
        self.page.keyboard.type(words)

    def tab(self, key="Tab"):
        """One stop on; whether there was one, for the browser's own bar comes after the last."""
        self.press(key)
        return self.look()

    def look(self):
        """Whether the focus is at a stop; one that cannot be seen well is an error."""
        seen = self.page.evaluate(LOOK)
        assert not seen["wrong"], seen["wrong"]
        return seen["stop"]

    def to(self, selector, key="Tab"):
        """On to the next that the selector fits."""
        for _ in range(MOST):
            if self.tab(key) and self.at(selector):
                return
        raise AssertionError(f"{selector} cannot be reached with {key}")

    def back(self, selector):
        """The other way."""
        self.to(selector, "Shift+Tab")

    def at(self, selector):
        """Whether the focus is there."""
        return self.page.evaluate("s => document.activeElement.matches(s)", selector)

    def use(self, selector, key="Enter"):
        """Go there and press a key."""
        self.to(selector)
        self.press(key)

    def choose(self, name, value):
        """Go to a group of radio buttons and on to one of them."""
        self.to(f'input[name="{name}"]')
        for _ in range(MOST):
            if self.at(f'input[name="{name}"][value="{value}"]'):
                self.look()
                expect(self.page.locator(f'input[name="{name}"]:checked')).to_be_focused()
                return
            self.press("ArrowRight")
        raise AssertionError(f"{name} has no {value} for the arrow keys")

    def walk(self):
        """From the beginning to the end of the page, opening what opens: what is no stop on the
        way, or a player without a ring of its own, in words.
        """
        self.page.evaluate("() => { window.reached = new Set(); window.ringed = new Set(); }")
        for _ in range(MOST):
            if not self.tab():
                return self.page.evaluate(UNREACHED)
            if self.at("details:not([open]) > summary"):
                self.press("Enter")
                expect(self.page.locator("details[open] > summary:focus")).to_have_count(1)
        raise AssertionError("the focus never leaves the page")
