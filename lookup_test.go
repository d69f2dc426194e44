package broadcast

// Found is a chat that somebody has looked up, and has not locked yet.
type Found[T any] struct {
	chat *chat[T]
}

// LookUp looks a chat up.
func LookUp[T any](b *Broker[T], name string) Found[T] {
	c, _ := b.chats.Load(name)
	return Found[T]{c}
}

// Admits reports whether a device may join the chat now, and lets it.
func (f Found[T]) Admits(device string) bool {
	config := f.chat.broker.config.subscription
	s := newSubscriber[T](device, config)
	s.chat = f.chat
	_, err := f.chat.join(s, &config)
	return err == nil
}
