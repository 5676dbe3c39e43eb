// Sends what the reader chose. Streamlit loses a message now and then when it arrives while a refresh ends; so a choice
// is sent again until the server, which handles each one once, has answered it. Joined before the scripts that use it.

const CHOICE_ATTEMPTS = 5;
const CHOICE_INTERVAL_MS = 3000;

class Choices {
  // Called with each answer of the server.
  update(data, setTriggerValue) {
    this.setTriggerValue = setTriggerValue;
    if (data.handled === this.pending?.id) this.pending = null;
  }

  send(value) {
    this.pending = { id: `${Date.now()}-${Math.random()}`, value };
    this.sendPending(this.pending, CHOICE_ATTEMPTS);
  }

  sendPending(choice, attempts) {
    if (this.pending !== choice || !attempts) return;
    this.setTriggerValue?.("choice", choice);
    setTimeout(() => this.sendPending(choice, attempts - 1), CHOICE_INTERVAL_MS);
  }

  close() {
    this.pending = null;
  }
}
