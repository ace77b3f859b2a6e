// The switch between the system's colours, light and dark. Remembered in this browser; theme.js applies it on every load.

import { drawing, element } from "./nodes.js";

const KEY = "kumos.theme";
const CHOICES = [
  ["system", "As the system", "M2 3.5h12v7.5h-12zM6 14h4M8 11v3"],
  ["light", "Light", "M8 5a3 3 0 1 0 .01 0M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1"],
  ["dark", "Dark", "M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z"],
];

function stored() {
  const theme = localStorage.getItem(KEY);
  return theme === "light" || theme === "dark" ? theme : "system";
}

function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** Fills `fieldset` with the three choices; another tab that chooses changes this one, too. */
export function offerThemes(fieldset) {
  const radios = new Map();
  for (const [theme, words, path] of CHOICES) {
    const radio = element("input", { type: "radio", name: "theme", value: theme, checked: theme === stored() });
    radio.addEventListener("change", () => {
      if (theme === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
      apply(theme);
    });
    radios.set(theme, radio);
    fieldset.append(element("label", { title: words }, radio, drawing("", path), element("span", { className: "hidden" }, words)));
  }
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY && event.key !== null) return;
    radios.get(stored()).checked = true;
    apply(stored());
  });
}
