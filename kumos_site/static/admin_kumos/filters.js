// The boxes of filters are closed by Escape and by a click anywhere else; the browser keeps one open at a time.

function close(keeps) {
  for (const filter of document.querySelectorAll(".kumos-filter[open]")) if (!keeps?.(filter)) filter.open = false;
}

document.addEventListener("click", (event) => close((filter) => filter.contains(event.target)));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = document.querySelector(".kumos-filter[open]");
  if (open?.contains(document.activeElement)) open.querySelector("summary").focus();
  close();
});
