SELECT shelf, place FROM shelf_gone
