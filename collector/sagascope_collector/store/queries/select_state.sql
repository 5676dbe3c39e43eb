SELECT owner, begun, sealed_through, seq, received, stored, rejected, duplicate, projected FROM state
