// An echo server on a selector (java.nio), and clients of it: threads with java.net.Socket, and channels with a selector.
import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.util.*;

public class Echo {
    static final int SIZE = 200_000;

    public static void main(String[] arguments) throws Exception {
        InetSocketAddress address = new InetSocketAddress(arguments[1], Integer.parseInt(arguments[2]));
        if (arguments[0].equals("serve")) {
            serve(address);
            return;
        }
        List<Thread> threads = new ArrayList<>();
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        for (int i = 0; i < 10; i++) {
            byte[] bytes = bytes(i);
            Thread thread = new Thread(() -> {
                try {
                    askBlocking(address, bytes);
                } catch (Throwable failure) {
                    failures.add(failure);
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) thread.join();
        if (!failures.isEmpty()) throw new Exception(failures.get(0));
        askWithSelector(address);
    }

    static byte[] bytes(int seed) {
        byte[] bytes = new byte[SIZE];
        new Random(seed).nextBytes(bytes);
        return bytes;
    }

    static void serve(InetSocketAddress address) throws IOException {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(address, 64);
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            Iterator<SelectionKey> keys = selector.selectedKeys().iterator();
            while (keys.hasNext()) {
                SelectionKey key = keys.next();
                keys.remove();
                if (key.isAcceptable()) {
                    SocketChannel channel = listener.accept();
                    if (channel == null) continue;
                    channel.configureBlocking(false);
                    channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
                    channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
                    channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocate(65_536));
                } else {
                    echo(key);
                }
            }
        }
    }

    // Reads until the end, then writes all that came; a buffer's worth at a time.
    static void echo(SelectionKey key) throws IOException {
        SocketChannel channel = (SocketChannel) key.channel();
        ByteBuffer buffer = (ByteBuffer) key.attachment();
        if (key.isReadable()) {
            if (channel.read(buffer) < 0) {
                channel.close();
                return;
            }
            buffer.flip();
        }
        channel.write(buffer);
        if (buffer.hasRemaining()) {
            key.interestOps(SelectionKey.OP_WRITE);
        } else {
            buffer.clear();
            key.interestOps(SelectionKey.OP_READ);
        }
    }

    static void askBlocking(InetSocketAddress address, byte[] bytes) throws Exception {
        try (Socket socket = new Socket()) {
            socket.setTcpNoDelay(true);
            socket.setSoTimeout(60_000);
            socket.connect(address, 30_000);
            if (!socket.getRemoteSocketAddress().equals(address)) throw new Exception("another peer");
            Thread writer = new Thread(() -> {
                try {
                    socket.getOutputStream().write(bytes);
                    socket.shutdownOutput();
                } catch (IOException failure) {
                    failure.printStackTrace();
                }
            });
            writer.start();
            byte[] back = socket.getInputStream().readAllBytes();
            writer.join();
            if (!Arrays.equals(back, bytes)) throw new Exception("changed: " + back.length + " bytes");
        }
    }

    static void askWithSelector(InetSocketAddress address) throws Exception {
        Selector selector = Selector.open();
        Map<SocketChannel, ByteBuffer> sent = new HashMap<>();
        Map<SocketChannel, ByteArrayOutputStream> received = new HashMap<>();
        for (int i = 0; i < 10; i++) {
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            channel.connect(address);
            channel.register(selector, SelectionKey.OP_CONNECT);
            sent.put(channel, ByteBuffer.wrap(bytes(100 + i)));
            received.put(channel, new ByteArrayOutputStream());
        }
        ByteBuffer buffer = ByteBuffer.allocate(65_536);
        int left = 10;
        while (left > 0) {
            if (selector.select(60_000) == 0) throw new Exception("nothing happens any more");
            Iterator<SelectionKey> keys = selector.selectedKeys().iterator();
            while (keys.hasNext()) {
                SelectionKey key = keys.next();
                keys.remove();
                SocketChannel channel = (SocketChannel) key.channel();
                if (key.isConnectable() && channel.finishConnect())
                    key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
                if (key.isWritable()) {
                    channel.write(sent.get(channel));
                    if (!sent.get(channel).hasRemaining()) {
                        channel.shutdownOutput();
                        key.interestOps(SelectionKey.OP_READ);
                    }
                }
                if (key.isReadable()) {
                    buffer.clear();
                    int count = channel.read(buffer);
                    if (count > 0) received.get(channel).write(buffer.array(), 0, count);
                    if (count < 0) {
                        if (!Arrays.equals(received.get(channel).toByteArray(), sent.get(channel).array()))
                            throw new Exception("changed");
                        channel.close();
                        left--;
                    }
                }
            }
        }
    }
}
