ATTACH $file AS copied
