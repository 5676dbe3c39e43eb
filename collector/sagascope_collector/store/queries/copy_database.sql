-- `this` stands for the name that DuckDB gave the database, after its file
COPY FROM DATABASE "this" TO copied
