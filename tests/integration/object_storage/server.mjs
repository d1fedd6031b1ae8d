// Run an object storage that keeps the bucket `backups` in FOLDER, and print its port. Usage: node server.mjs FOLDER
import S3rver from 's3rver'

const server = new S3rver({
  address: '127.0.0.1',
  port: 0,
  silent: true,
  directory: process.argv[2],
  configureBuckets: [{ name: 'backups' }]
})
const { port } = await server.run()
console.log(port)
