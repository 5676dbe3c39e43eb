// A button that downloads a file which the server makes when it is clicked. The file comes with the page's own data:
// a file under a URL of its own may be deleted before the browser asks for it.

export default function download({ parentElement, data, setTriggerValue }) {
  const button = parentElement.querySelector("button") ?? create(parentElement);
  button.textContent = data.error ?? data.label;
  button.title = data.help;
  button.onclick = () => setTriggerValue("requested", true);
  if (data.file && parentElement.savedToken !== data.file.token) {
    parentElement.savedToken = data.file.token;
    save(data.file);
  }
}

function create(parentElement) {
  const root = parentElement.appendChild(document.createElement("div"));
  root.className = "sagascope-elements";
  const button = root.appendChild(document.createElement("button"));
  button.type = "button";
  button.className = "action";
  return button;
}

function save({ name, mime, text }) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: mime }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
