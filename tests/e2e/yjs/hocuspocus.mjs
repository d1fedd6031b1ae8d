// A Yjs client with the HocuspocusProvider of @hocuspocus/provider.
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import WebSocket from 'ws'
import { Client } from './client.mjs'

// The sockets by name, each with the number of its clients. Several clients may share a socket.
const sockets = new Map()

function useSocket (name, url) {
  const used = sockets.get(name) ?? {
    count: 0,
    // A short pause before the first attempt to connect again keeps the tests fast.
    socket: new HocuspocusProviderWebsocket({
      url, WebSocketPolyfill: WebSocket, autoConnect: false, delay: 100, minDelay: 100, maxDelay: 2000
    })
  }
  used.count++
  sockets.set(name, used)
  return used.socket
}

function leaveSocket (name) {
  const used = sockets.get(name)
  if (--used.count > 0) return
  sockets.delete(name)
  used.socket.destroy()
}

// An adapter that gives a HocuspocusProvider the properties and methods of a WebsocketProvider, which `Client` uses.
class Adapter {
  constructor (doc, { url, room, hocuspocus: { socket, tokens, sessionAwareness = false } }) {
    this.socketName = socket
    this.socket = useSocket(socket, url)
    // Each request of the server gets the next token. The last token is repeated.
    const token = () => tokens.length > 1 ? tokens.shift() : tokens[0]
    this.inner = new HocuspocusProvider({
      websocketProvider: this.socket, name: room, document: doc, token, sessionAwareness
    })
  }

  get awareness () { return this.inner.awareness }
  get synced () { return this.inner.synced }
  get unsynced () { return this.inner.unsyncedChanges }
  get wsconnected () { return this.socket.status === 'connected' }
  get ws () { return this.socket.webSocket }

  connect () {
    this.inner.attach()
    if (this.socket.status === 'disconnected') this.socket.connect()
    // Otherwise the close of the last connection has not arrived yet, and the provider reconnects after this close.
    else this.socket.shouldConnect = true
  }

  disconnect () { this.socket.disconnect() }

  set shouldConnect (value) { this.socket.shouldConnect = value }

  destroy () {
    this.inner.destroy()
    leaveSocket(this.socketName)
  }
}

export class HocuspocusClient extends Client {
  createProvider (settings) {
    // The scope that the server has sent last; null before the first scope.
    this.scope = null
    // The reasons of all refusals.
    this.denials = []
    // The payloads of the stateless messages.
    this.stateless = []
    return new Adapter(this.doc, settings)
  }

  get origin () {
    return this.provider.inner
  }

  // Whether all edits of this client are committed.
  get saved () {
    return this.synced && this.provider.unsynced === 0
  }

  listenToProvider (report) {
    const { inner } = this.provider
    inner.on('synced', this.changed)
    inner.on('unsyncedChanges', this.changed)
    inner.on('authenticated', ({ scope }) => {
      this.scope = scope
      this.changed()
    })
    inner.on('authenticationFailed', ({ reason }) => {
      this.denials.push(reason)
      this.changed()
    })
    inner.on('stateless', ({ payload }) => {
      this.stateless.push(payload)
      this.changed()
    })
    inner.on('connect', () => {
      this.connections++
      this.changed()
    })
    inner.on('close', ({ event: { code, reason } }) => this.addClose({ code, reason }, report))
  }
}
