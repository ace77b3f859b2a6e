// Forms with data-uploads: files can be dropped onto them, go up one by one, and each says how far it is and what became
// of it. Without this script the form sends them together and the server answers with a page.
for (const form of document.querySelectorAll("form[data-uploads]")) prepare(form);

function prepare(form) {
  const input = form.querySelector("input[type=file]");
  const list = form.querySelector(".kumos-uploads");
  const zone = form.querySelector(".kumos-drop");
  let queue = Promise.resolve();

  const take = (files) => {
    for (const file of files) {
      const line = lineOf(list, file.name);
      queue = queue.then(() => send(form, input.name, file, line));
    }
  };
  form.addEventListener("submit", (event) => {
    if (!input.files.length) return;
    event.preventDefault();
    take([...input.files]);
    input.value = "";
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    form.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      zone.classList.toggle("kumos-dropping", name === "dragover");
      if (name === "drop") take([...event.dataTransfer.files]);
    });
  }
}

function lineOf(list, name) {
  list.hidden = false;
  const item = list.appendChild(document.createElement("li"));
  const label = item.appendChild(document.createElement("span"));
  label.textContent = name;
  const progress = item.appendChild(document.createElement("progress"));
  progress.max = 1;
  progress.value = 0;
  progress.setAttribute("aria-label", `Upload of ${name}`);
  const state = item.appendChild(document.createElement("span"));
  state.textContent = "waiting";
  return { item, label, progress, state };
}

function send(form, name, file, line) {
  const limit = Number(form.dataset.bytesMax);
  if (limit && file.size > limit) return end(line, "failed", "it is too large");
  const body = new FormData(form);
  body.delete(name);
  body.append(name, file, file.name);
  line.state.textContent = "on its way";
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) line.progress.value = event.loaded / event.total;
    });
    request.addEventListener("load", () => {
      judge(request, line);
      document.getElementById(form.dataset.refreshes)?.dispatchEvent(new Event("kumos-refresh"));
      resolve();
    });
    request.addEventListener("error", () => resolve(end(line, "failed", "the connection broke; try again")));
    request.send(body);
  });
}

function judge(request, line) {
  let answer = {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    return end(line, "failed", `the server refused it (${request.status})`);
  }
  const [file] = answer.files ?? [answer];
  if (file.error || !file.href) return end(line, "failed", file.error ?? "the server refused it");
  const link = document.createElement("a");
  link.href = file.href;
  link.textContent = line.label.textContent;
  line.label.replaceChildren(link);
  end(line, "completed", "uploaded");
}

function end(line, state, text) {
  line.progress.remove();
  line.item.classList.add(`kumos-upload-${state}`);
  line.state.textContent = text;
}
