// The assistant's form shows only the options that count: those of a tool while its box is ticked, the schema while an
// answer must follow it. A row with an error stays. Without this script every row is there.
const rows = {
  file_search: ["max_num_results", "vector_store"],
  code_interpreter: ["code_files"],
  response_kind: ["response_schema"],
};

function chosen(control) {
  return control.type === "checkbox" ? control.checked : control.value === "json_schema";
}

for (const [name, dependents] of Object.entries(rows)) {
  const control = document.getElementById(`id_${name}`);
  if (!control) continue;
  const show = () => {
    for (const dependent of dependents) {
      const row = document.querySelector(`.form-row.field-${dependent}`);
      row.hidden = !chosen(control) && !row.querySelector(".errorlist");
    }
  };
  control.addEventListener("change", show);
  show();
}
