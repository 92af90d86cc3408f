// The part of XMLHttpRequest that the long-poll transport of phoenix 1.6 and 1.7 uses, over
// fetch: Node has none, and these versions know nothing else.

export class XMLHttpRequest {
  readyState = 0;
  responseText = "";
  timeout = 0;
  onerror = null;
  onreadystatechange = null;
  ontimeout = null;
  #abort = new AbortController();
  #headers = {};
  #method;
  #url;

  open(method, url) {
    this.#method = method;
    this.#url = url;
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  /** An aborted request is silent: the client that aborts no longer wants an answer. */
  abort() {
    this.#abort.abort("aborted");
  }

  async send(body) {
    const timer = this.timeout && setTimeout(() => this.#abort.abort("timeout"), this.timeout);
    try {
      const answer = await fetch(this.#url, {
        method: this.#method,
        headers: this.#headers,
        body: body ?? undefined,
        signal: this.#abort.signal,
      });
      this.responseText = await answer.text();
    } catch {
      const { aborted, reason } = this.#abort.signal;
      if (!aborted) this.onerror?.();
      else if (reason === "timeout") this.ontimeout?.();
      return;
    } finally {
      clearTimeout(timer);
    }
    this.readyState = 4;
    this.onreadystatechange?.();
  }
}
