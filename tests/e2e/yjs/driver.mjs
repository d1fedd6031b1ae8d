// Many Yjs clients in one process. Reads one JSON request a line from stdin: {"id", "do", …}; answers one line each:
// {"id", "ok"} or {"id", "error"}. Lines with "event" tell of connections that open and close. Ends with stdin.
import { createInterface } from 'node:readline'
import * as Y from 'yjs'
import { Client } from './client.mjs'
import { content, digest } from './digest.mjs'
import { apply } from './drawing.mjs'
import { Watch } from './watch.mjs'

// Each provider listens to the process's end: with many of them that is no leak.
process.setMaxListeners(0)

const clients = new Map()
const watch = new Watch()

const write = line => process.stdout.write(`${JSON.stringify(line)}\n`)

function client (name) {
  const found = clients.get(name)
  if (found === undefined) throw new Error(`no client ${name}`)
  return found
}

const all = names => names.map(client)

// Waits until `holds(client)` for each; `describe(client)` tells of those for whom it does not.
const untilAll = (names, timeout, holds, describe) => watch.until(
  () => all(names).every(holds) ? true : undefined,
  timeout,
  () => all(names).filter(one => !holds(one)).map(one => `${one.name}: ${describe(one)}`).join('; ')
)

const brief = one => {
  const { connected, synced, closes, documents, saved } = one.status()
  return JSON.stringify({ connected, synced, documents, saved, closes: closes.slice(-5) })
}

const sameMembers = (left, right) =>
  left.length === right.length && left.toSorted().every((item, place) => item === right.toSorted()[place])

const COMMANDS = {
  connect ({ client: name, ...settings }) {
    if (clients.has(name)) throw new Error(`there is a client ${name} already`)
    const made = new Client(name, settings, watch.changed, write)
    clients.set(name, made)
    return { client_id: made.doc.clientID }
  },
  reconnect: ({ client: name }) => client(name).provider.connect(),
  disconnect: ({ client: name }) => client(name).provider.disconnect(),
  drop: ({ client: name }) => client(name).drop(),
  vanish: ({ client: name }) => client(name).vanish(),
  destroy ({ clients: names }) {
    for (const one of all(names)) {
      one.destroy()
      clients.delete(one.name)
    }
  },

  edit: ({ client: name, edits }) => apply(client(name).doc, edits),
  draw ({ clients: names, seed, rate }) {
    all(names).forEach((one, place) => one.draw({ seed: seed + place, rate }))
  },
  rest: ({ clients: names }) => all(names).forEach(one => one.rest()),
  await_edits: ({ clients: names, count, timeout }) => watch.until(
    () => {
      const made = all(names).reduce((sum, one) => sum + one.edits, 0)
      return made >= count ? made : undefined
    },
    timeout, () => `${count} edits`),

  status: ({ client: name }) => client(name).status(),
  content: ({ client: name }) => content(client(name).doc),
  tags ({ client: name }) {
    const counts = {}
    for (const element of client(name).doc.getMap('elements').values()) {
      const tag = element.get('tag')
      counts[tag] = (counts[tag] ?? 0) + 1
    }
    return counts
  },
  digest: ({ client: name }) => client(name).digest(),
  update: ({ client: name }) => Buffer.from(Y.encodeStateAsUpdate(client(name).doc)).toString('base64'),
  digest_of ({ update }) {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, Buffer.from(update, 'base64'))
    return digest(doc)
  },

  await_connected: ({ clients: names, timeout }) =>
    untilAll(names, timeout, one => one.provider.wsconnected, brief),
  await_synced: ({ clients: names, timeout }) => untilAll(names, timeout, one => one.synced, brief),
  await_saved: ({ clients: names, timeout }) => untilAll(names, timeout, one => one.saved, brief),
  await_received: ({ client: name, type, count, timeout }) => {
    const received = () => client(name).traffic?.received[type] ?? 0
    return watch.until(() => received() >= count ? received() : undefined, timeout,
      () => `${received()} of ${count} messages of type ${type}`)
  },
  await_close: ({ client: name, count, timeout }) => watch.until(
    () => client(name).closes.length >= count ? client(name).closes.at(-1) : undefined,
    timeout, () => brief(client(name))),

  // All are connected and hold the same; with `digest`, exactly that.
  await_converged: ({ clients: names, digest: wanted, timeout }) => watch.until(
    () => {
      const ones = all(names)
      if (!ones.every(one => one.synced)) return undefined
      const target = wanted ?? ones[0].digest().all
      const same = ones.every(one => one.digest().all === target && !one.digest().pending)
      return same ? ones[0].digest() : undefined
    },
    timeout,
    () => all(names).map(one => `${one.name}: ${JSON.stringify(one.digest())} ${brief(one)}`).join('\n')),
  await_elements: ({ clients: names, ids, timeout }) => untilAll(
    names, timeout,
    one => ids.every(id => one.doc.getMap('elements').has(id)),
    one => `lacks ${ids.filter(id => !one.doc.getMap('elements').has(id))}`),
  await_attribute: ({ clients: names, name, value, timeout }) => untilAll(
    names, timeout,
    one => one.doc.getMap('canvas').get(name) === value,
    one => `${name} is ${one.doc.getMap('canvas').get(name)}; ${brief(one)}`),

  set_awareness: ({ client: name, state }) => client(name).provider.awareness.setLocalState(state),
  awareness: ({ client: name }) => client(name).present(),
  // The states everybody sees have exactly these values in `field`.
  await_present: ({ clients: names, field, values, timeout }) => untilAll(
    names, timeout,
    one => sameMembers(one.present().map(state => String(state[field])), values),
    one => `sees ${one.present().map(state => state[field])}`)
}

async function answer (line) {
  const { id, do: name, ...settings } = JSON.parse(line)
  try {
    if (!Object.hasOwn(COMMANDS, name)) throw new Error(`no command ${name}`)
    write({ id, ok: (await COMMANDS[name](settings)) ?? null })
  } catch (error) {
    write({ id, error: error.message })
  }
}

const lines = createInterface({ input: process.stdin })
lines.on('line', answer)
lines.on('close', () => process.exit(0))
