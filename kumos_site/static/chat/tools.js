// What a tool call is in words: its name, its sign, the one argument that tells it from another, how long it took.

import { harmless } from "./files.js";

const SIGNS = {
  file_search: "M7 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9M10.3 10.3 14 14",
  code_interpreter: "M3 4.5 6.5 8 3 11.5M8.5 12H13",
  mcp: "M5 2v3M9 2v3M3.5 5h7v2.5a3.5 3.5 0 0 1-7 0zM7 11v3h6",
  create_specialist: "M6 7.5a2.5 2.5 0 1 0 0-5a2.5 2.5 0 0 0 0 5M1.5 13.5c0-5 9-5 9 0M12.5 5v5M10 7.5h5",
  function: "M12 3.2c-2.6-1-3.8.1-4.1 2.3L6.9 11.2c-.3 1.9-1.4 2.5-3.2 1.8M5.2 6.7h5.4",
};
const TITLES = { file_search: "Search files", code_interpreter: "Run code", create_specialist: "Ask a specialist" };
const TELLING = ["name", "query", "q", "question", "task", "title", "city", "path", "url", "command"];

export function signOf(call) {
  return SIGNS[call.function?.name] ?? SIGNS[call.type] ?? SIGNS.function;
}

/** `mcp` calls name their server, too; what a newer server calls a tool is shown as it comes. */
export function titleOf(call) {
  const name = call.function?.name ?? call[call.type]?.name ?? call.type;
  if (call.type === "mcp" && call.mcp?.server_label) return harmless(`${call.mcp.server_label}: ${name}`);
  return TITLES[name] ?? harmless(name);
}

/** The arguments of a call as the model writes them, "" where its kind has none to show. */
export function argumentsOf(call) {
  return call.function?.arguments ?? call[call.type]?.arguments ?? "";
}

export function mainArgument(call, printer) {
  if (call.type === "file_search") return call.file_search?.query ? `“${harmless(call.file_search.query, 60)}”` : found(call);
  if (call.type === "code_interpreter") return harmless(call.code_interpreter?.input?.split("\n").find((line) => line.trim()) ?? "");
  return harmless(told(argumentsOf(call)) ?? printer?.first ?? "");
}

/** Of complete arguments the one that people would name; null while they are incomplete or have none. */
function told(json) {
  let values;
  try {
    values = JSON.parse(json);
  } catch {
    return null;
  }
  if (typeof values !== "object" || values === null) return null;
  const telling = TELLING.find((name) => typeof values[name] === "string");
  return telling ? values[telling] : String(Object.values(values).find((value) => typeof value !== "object") ?? "");
}

export function found(call) {
  const results = call.file_search?.results ?? [];
  if (results.length === 0) return "";
  const files = new Set(results.map((result) => result.file_id)).size;
  const passages = results.length === 1 ? "1 passage" : `${results.length} passages`;
  return `${passages} in ${files === 1 ? "1 file" : `${files} files`}`;
}

export function took(step, now) {
  const end = step.completed_at ?? step.failed_at ?? step.cancelled_at ?? step.expired_at ?? null;
  if (step.status !== "in_progress" && end === null) return "";
  const seconds = Math.max(0, (end ?? Math.floor(now / 1000)) - step.created_at);
  if (seconds < 1) return step.status === "in_progress" ? "" : "under 1 s";
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
