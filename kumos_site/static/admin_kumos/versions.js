// The versions on the assistant's page: the list, a comparison or one version is fetched as a fragment and put into the
// panel, so that nobody leaves the form. Where that fails, the links lead to the same as pages.
const panel = document.getElementById("versions");
const body = panel?.querySelector(".kumos-versions-body");
const form = document.getElementById("assistant_form");

const typed = () => form && new URLSearchParams([...new FormData(form)].filter(([, value]) => typeof value === "string")).toString();
let atFirst = "";

async function show(address) {
  const fragment = new URL(address, location.href);
  fragment.searchParams.set("fragment", "");
  body.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(fragment, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(answer.status);
    body.innerHTML = await answer.text();
  } catch {
    return false;
  } finally {
    body.removeAttribute("aria-busy");
  }
  const result = body.querySelector("[data-result]");
  result?.scrollIntoView({ block: "start" });
  result?.querySelector("h3").focus({ preventScroll: true });
  return true;
}

async function showOrGo(address) {
  if (!(await show(address))) location.assign(address);
}

if (panel) {
  panel.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-versions]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    showOrGo(link.href);
  });
  panel.addEventListener("submit", (event) => {
    const sent = event.target;
    if (sent.method === "get") {
      event.preventDefault();
      showOrGo(`${sent.action}?${new URLSearchParams(new FormData(sent))}`);
    } else if (typed() !== atFirst && !confirm("What you changed in the form is not saved and would be lost. Roll back?")) {
      event.preventDefault();
    }
  });
  atFirst = typed();
  show(panel.dataset.address);
}
