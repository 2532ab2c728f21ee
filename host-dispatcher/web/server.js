// A run's data from the server, in the form in which run.js and log.js want it.

import { get, part, address } from "./api.js";
import { micros } from "./words.js";

export class ServerRun {
  constructor(name, stream) {
    this.name = name;
    this.stream = stream;
    this.path = `/runs/${part(name)}`;
    this.isServed = true;
  }

  // The run as a whole; its summary has its suites with their cases.
  async run() {
    return get(this.path);
  }

  async previous(name) {
    return name ? get(`/runs/${part(name)}/results`, { format: "json" }) : null;
  }

  async files() {
    return (await get(`${this.path}/files`)).files;
  }

  fileAddress(path) {
    return address(`${this.path}/files/${path.split("/").map(part).join("/")}`);
  }

  resultsAddress(format) {
    return address(`${this.path}/results`, { format });
  }

  async log(filter, { from = 0, count = 200, around = null }, signal) {
    const place = around === null ? { from } : { around };
    const page = await get(`${this.path}/log`, { ...filter, ...place, count }, signal);
    for (const record of page.records) record.us = micros(record.host_time);
    return page;
  }

  // Calls back with {lines, generation, state} when the run has grown, and with null when that must be asked anew.
  watch(callback) {
    const ends = [
      this.stream.on("run", (data) => data.run === this.name && callback(data)),
      this.stream.on("reset", () => callback(null)),
    ];
    this.stream.watch(this.name);
    return () => {
      ends.forEach((end) => end());
      this.stream.watch(null);
    };
  }
}
