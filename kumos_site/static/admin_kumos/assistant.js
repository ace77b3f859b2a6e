// The assistant's form put together. Without scripts it is a plain form; these modules add what makes it good to use.

import { Files } from "./file_drop.js";
import { Functions } from "./function_editors.js";
import { Length } from "./instructions.js";
import { ask } from "./requests.js";
import { Trial } from "./trial_panel.js";

// Only the options that count are shown: those of a tool while its box is ticked, the schema while an answer must follow
// it. A row with an error stays.
const ROWS = {
  file_search: ["max_num_results", "vector_store"],
  code_interpreter: ["code_files"],
  response_kind: ["response_schema"],
};

function chosen(control) {
  return control.type === "checkbox" ? control.checked : control.value === "json_schema";
}

function showOptions() {
  for (const [name, dependents] of Object.entries(ROWS)) {
    const control = document.getElementById(`id_${name}`);
    if (!control) continue;
    for (const dependent of dependents) {
      const row = document.querySelector(`.form-row.field-${dependent}`);
      row.hidden = !chosen(control) && !row.querySelector(".errorlist");
    }
  }
}

/** The list of models was drawn with the names that cost nothing; the providers are asked meanwhile. */
async function suggestModels(base) {
  const list = document.getElementById("model-suggestions");
  if (!list) return;
  const { models } = await ask(`${base}models/`).catch(() => ({ models: [] }));
  const known = new Set([...list.options].map((option) => option.value));
  for (const model of models.filter((name) => !known.has(name))) list.append(new Option("", model));
}

const workbench = document.getElementById("workbench");
const form = document.getElementById("assistant_form");

if (form) {
  form.addEventListener("change", showOptions);
  showOptions();
}
if (form && workbench) {
  const { base, of: saved, uploads } = workbench.dataset;
  new Length(document.getElementById("id_instructions"), `${base}tokens/`);
  new Functions(document.getElementById("id_functions_all"), `${base}check/`);
  if (uploads !== undefined) new Files(form, base);
  new Trial({ form, panel: document.getElementById("trial"), base, saved, onErrors: showOptions });
  suggestModels(base);
}
