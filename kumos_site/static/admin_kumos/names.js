// Names for what Django's own widgets leave without one, so that a screen reader can say what it is.

function nameAll() {
  // The little signs in front of the filters of two boxes side by side have a name, and no role that may have one.
  for (const sign of document.querySelectorAll("span.help-tooltip[aria-label]:not([role])")) sign.setAttribute("role", "img");
  // A box with search stands in place of a select, whose label does not reach it.
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    const label = document.querySelector(`label[for="${CSS.escape(select.id)}"]`);
    if (!label) continue;
    label.id ||= `${select.id}-label`;
    const box = select.parentElement.querySelector(".select2-selection");
    const chosen = box?.querySelector(".select2-selection__rendered");
    box?.setAttribute("aria-labelledby", chosen ? `${label.id} ${chosen.id}` : label.id);
    chosen?.setAttribute("aria-labelledby", label.id);
  }
  // Tables of rows that belong to an object: the column of their names, and the boxes that remove one.
  for (const head of document.querySelectorAll("th.original:empty, .tabular thead th:empty")) {
    const name = head.appendChild(document.createElement("span"));
    name.className = "visually-hidden";
    name.textContent = head.classList.contains("original") ? "Row" : "Remove";
  }
  for (const box of document.querySelectorAll(".tabular input[type=checkbox][name$='-DELETE']:not([aria-label])")) {
    const row = box.closest("tr")?.querySelector("td.original p")?.textContent.trim();
    box.setAttribute("aria-label", row ? `Delete ${row}` : "Delete");
  }
}

// After the widgets, which are made when the page is loaded.
window.addEventListener("load", () => setTimeout(nameAll));
document.addEventListener("formset:added", () => setTimeout(nameAll));
